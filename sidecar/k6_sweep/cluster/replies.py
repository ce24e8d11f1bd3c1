"""Decides what a server's error reply means for the slot of the command."""

import enum
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from redis import exceptions

from k6_sweep.errors import DeniedError
from k6_sweep.settings.values import Address

# READONLY: a failover has made the primary a replica. NOREPLICAS: too few replicas for min-replicas-to-write.
# MISCONF: the server cannot save its data. BUSY: a script blocks it. MASTERDOWN: a replica without its primary.
_COME_BACK: Final = ("CLUSTERDOWN", "MASTERDOWN", "READONLY", "NOREPLICAS", "MISCONF", "BUSY", "LOADING", "TRYAGAIN")
"""Error codes of temporary states.

Source: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/ and the servers' error texts.
"""


class ReplyKind(enum.Enum):
    """What to do with a slot after an error."""

    LATER = "ask its owner again later"
    MOVING = "it moves to another node: handle it key by key"
    DENIED = "a retry does not help"


@dataclass(frozen=True)
class ErrorReply:
    """An error reply, and what to do after it."""

    kind: ReplyKind
    text: str
    target: Address | None = None
    """The node to which the slot moves, if the reply names it; an empty host means the host of the answering node."""


def text_of(error: Exception) -> str:
    """Return the server's error text on one line, with the code that redis-py removes."""
    code = getattr(error, "status_code", None)
    return " ".join(f"{code or ''} {error}".split())


def judge(reply: Any) -> ErrorReply | None:  # any reply
    """Return the kind of an error reply; None for a reply without error."""
    if not isinstance(reply, Exception):
        return None
    text = text_of(reply)
    # The target is not used: after one slot, others have usually moved too, so that the whole map is read again.
    if isinstance(reply, exceptions.MovedError):  # before AskError, because MovedError derives from it
        return ErrorReply(ReplyKind.LATER, text)
    if isinstance(reply, exceptions.AskError):
        return ErrorReply(ReplyKind.MOVING, text, Address(reply.host, reply.port))
    # Some keys of the command are here and some on the target; a command with one key never gets this reply.
    if isinstance(reply, exceptions.TryAgainError):
        return ErrorReply(ReplyKind.MOVING, text)
    return ErrorReply(ReplyKind.LATER if text.startswith(_COME_BACK) else ReplyKind.DENIED, text)


def denial(server: str, text: str) -> DeniedError:
    """Return the exception for an error that a retry does not solve."""
    advice = "; give the user the permissions of docs/redis.md" if text.startswith("NOPERM") else ""
    return DeniedError(f"{server} denies a command: {text}{advice}")


def not_supported(server: str, command: str, reply: Any) -> DeniedError:  # any reply
    """Return the exception for a reply of another type than Redis gives; it never has the reply's content."""
    match reply:
        case None:
            what = "nothing"
        case int():
            what = "a number"
        case bytes():
            what = "a text"
        case list():
            what = f"a list of {len(reply)}"
        case _:
            what = "an error"
    return DeniedError(
        f"not supported: {server} answered {what} to {command}, which Redis and Valkey do not; set --redis-url to the "
        "servers themselves, and not to a proxy"
    )


@contextmanager
def parsing(server: str, command: str, reply: Any) -> Iterator[None]:  # any reply
    """Turn a failure to understand the reply, inside the block, into an error that names the server and the command.

    Raises:
        DeniedError: The reply is not of the type that Redis gives.
    """
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise not_supported(server, command, reply) from error


def number(server: str, command: str, reply: Any) -> int:  # any reply
    """Return a reply that must be a number.

    Raises:
        DeniedError: It is something else.
    """
    if not isinstance(reply, int):
        raise not_supported(server, command, reply)
    return reply


def keys_in(server: str, command: str, reply: Any) -> list[bytes]:  # any reply
    """Return a reply that must be a list of keys; only its ends are looked at, because there may be millions.

    Raises:
        DeniedError: It is something else.
    """
    if type(reply) is list and (not reply or type(reply[0]) is type(reply[-1]) is bytes):
        return reply
    raise not_supported(server, command, reply)


def is_denied(reply: Any) -> bool:  # any reply
    """Whether the server forbids the command or does not know it."""
    if not isinstance(reply, exceptions.ResponseError):
        return False
    # An older server, or a managed one without the command, answers "unknown command" or "unknown subcommand".
    return isinstance(reply, exceptions.NoPermissionError) or "unknown" in str(reply).lower()
