"""What a server's error reply means for the slot that it was about."""

import enum
from dataclasses import dataclass
from typing import Any, Final

from redis import exceptions

from k6_sweep.errors import DeniedError
from k6_sweep.settings.values import Address

_COME_BACK: Final = ("CLUSTERDOWN", "MASTERDOWN", "READONLY", "NOREPLICAS", "MISCONF", "BUSY", "LOADING", "TRYAGAIN")
"""States that pass.

Source: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/ and the servers' error texts.
"""


class ReplyKind(enum.Enum):
    """What to do with a slot after an error."""

    LATER = "ask again later, of whoever owns it then"
    MOVING = "it is on its way to another node: work it off key by key"
    DENIED = "asking again doesn't help"


@dataclass(frozen=True)
class ErrorReply:
    """An error reply, judged."""

    kind: ReplyKind
    text: str
    target: Address | None = None
    """Where the slot is moving to, where the reply says so; an empty host means the answering node's."""


def text_of(error: Exception) -> str:
    """Return the server's words in one line, with the code that redis-py takes off them."""
    code = getattr(error, "status_code", None)
    return " ".join(f"{code or ''} {error}".split())


def judge(reply: Any) -> ErrorReply | None:  # any reply
    """Return the trouble that a reply tells of; None for a clean one."""
    if not isinstance(reply, Exception):
        return None
    text = text_of(reply)
    if isinstance(reply, exceptions.MovedError):  # before AskError, which it derives from
        return ErrorReply(ReplyKind.LATER, text)
    if isinstance(reply, exceptions.AskError):
        return ErrorReply(ReplyKind.MOVING, text, Address(reply.host, reply.port))
    if isinstance(reply, exceptions.TryAgainError):
        return ErrorReply(ReplyKind.MOVING, text)
    return ErrorReply(ReplyKind.LATER if text.startswith(_COME_BACK) else ReplyKind.DENIED, text)


def denial(server: str, text: str) -> DeniedError:
    """Return the error for a trouble that is final."""
    advice = "; give the user the permissions of docs/redis.md" if text.startswith("NOPERM") else ""
    return DeniedError(f"{server} refuses: {text}{advice}")


def is_denied(reply: Any) -> bool:  # any reply
    """Whether the server forbids the command, or doesn't have it."""
    if not isinstance(reply, exceptions.ResponseError):
        return False
    return isinstance(reply, exceptions.NoPermissionError) or "unknown" in str(reply).lower()
