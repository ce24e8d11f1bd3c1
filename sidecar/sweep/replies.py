"""What a server's error reply means for the slot that it was about."""

import enum
from dataclasses import dataclass
from typing import Any, Final

from redis import exceptions

from sidecar.errors import DeniedError

_COME_BACK: Final = ("CLUSTERDOWN", "MASTERDOWN", "READONLY", "NOREPLICAS", "MISCONF", "BUSY", "LOADING", "TRYAGAIN")
"""States that pass.

Source: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/ and the servers' error texts.
"""


class Verdict(enum.Enum):
    """What to do with a slot after an error."""

    LATER = "ask again later, of whoever owns it then"
    MOVING = "it is on its way to another node: work it off key by key"


@dataclass(frozen=True)
class Trouble:
    """An error reply, judged."""

    verdict: Verdict
    text: str
    target: tuple[str, int] | None = None
    """Where the slot is moving to, where the reply says so; an empty host means the answering node's."""


def text_of(error: Exception) -> str:
    """Return the server's words in one line, with the code that redis-py takes off them."""
    code = getattr(error, "status_code", None)
    return " ".join(f"{code or ''} {error}".split())


def judge(reply: Any, server: str) -> Trouble | None:  # noqa: ANN401  # any reply
    """Return the trouble that a reply tells of; None for a clean one.

    Raises:
        DeniedError: Asking again doesn't help.
    """
    if not isinstance(reply, Exception):
        return None
    text = text_of(reply)
    if isinstance(reply, exceptions.MovedError):  # before AskError, which it derives from
        return Trouble(Verdict.LATER, text)
    if isinstance(reply, exceptions.AskError):
        return Trouble(Verdict.MOVING, text, (reply.host, reply.port))
    if isinstance(reply, exceptions.TryAgainError):
        return Trouble(Verdict.MOVING, text)
    if text.startswith(_COME_BACK):
        return Trouble(Verdict.LATER, text)
    if isinstance(reply, exceptions.NoPermissionError):
        raise DeniedError(f"{server} forbids it: {text}; give the user the permissions of docs/redis.md") from reply
    raise DeniedError(f"{server} refuses: {text}") from reply


def is_denied(reply: Any) -> bool:  # noqa: ANN401  # any reply
    """Whether the server forbids the command, or doesn't have it."""
    return isinstance(reply, exceptions.NoPermissionError) or (
        isinstance(reply, exceptions.ResponseError) and "unknown" in str(reply).lower()
    )
