"""Holds the lock by which several endpoints keep to one sweep at a time: a key in Redis that ends by itself.

It lies within the keys that a sweep may touch, so that a user with no other keys can set it. It is a courtesy, not a
safeguard: two sweeps at the same time delete nothing that one alone would not have deleted.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from redis import exceptions

from k6_sweep.cluster.link import Connect, pack
from k6_sweep.cluster.replies import ReplyKind, denial, judge
from k6_sweep.cluster.sentinel import seeds
from k6_sweep.cluster.slots import key_slot
from k6_sweep.cluster.topology import discover
from k6_sweep.errors import UnreachableError
from k6_sweep.patterns import Pattern
from k6_sweep.settings.all import Settings
from k6_sweep.settings.values import Address

_NAME: Final = b"k6-sweep-lock"
_HOPS: Final = 5
"""So often a node may send us to another one."""
_PATIENCE: Final = 2.0
"""Seconds that Redis may take for a step of taking the lock."""
_LAST_PATIENCE: Final = 0.5
"""The same for giving it back, which may have to be done before a SIGKILL."""


def lock_key(patterns: Sequence[Pattern]) -> bytes:
    """Return the lock's key: one that a pattern matches; where none has a star, one beside the first pattern's."""
    return next(iter(lock_keys(patterns)), patterns[0].raw + b":" + _NAME)


def lock_keys(patterns: Sequence[Pattern]) -> list[bytes]:
    """Return the lock's key for each pattern that has a star: what others may hold who sweep by one of these."""
    samples = (pattern.sample(_NAME) for pattern in patterns)
    return [key for key in samples if key is not None]


class SweepLock:
    """The lock, for one sweep at a time.

    Its methods raise `UnreachableError` where Redis doesn't answer, `DeniedError` where the user may not SET or GET.

    Source: https://redis.io/docs/latest/commands/set/ (NX and PX).
    """

    def __init__(self, settings: Settings, connect_within: Callable[[float], Connect]) -> None:
        """Prepare; `connect_within` makes what opens links whose every step takes so many seconds at the longest."""
        self._url = settings.redis_url
        self._connect_within = connect_within
        self.key = lock_key(settings.pattern)

    def take(self, owner: str, seconds: float) -> str | None:
        """Take the lock for so long at the longest; return None, or who has it."""
        milliseconds = max(1, int(seconds * 1000))
        for _ in range(_HOPS):
            if self._ask(_PATIENCE, b"SET", owner, b"NX", b"PX", milliseconds) is not None:
                return None
            if (holder := self._holder(_PATIENCE)) is not None:
                return holder
        raise UnreachableError("the lock of the sweep comes and goes; try again")

    def release(self, owner: str) -> None:
        """Give the lock back, if it is still the owner's."""
        if self._holder(_LAST_PATIENCE) == owner:
            self._ask(_LAST_PATIENCE, b"SET", owner, b"XX", b"PX", 1)  # it expires; only a sweep deletes

    def _holder(self, patience: float) -> str | None:
        value: bytes | None = self._ask(patience, b"GET")
        return None if value is None else value.decode("ascii", "replace")

    def _ask(self, patience: float, command: bytes, *more: bytes | str | int) -> Any:  # a reply has any shape
        """Ask the node that has the key."""
        connect = self._connect_within(patience)
        shard = discover(connect, seeds(self._url, connect)).shard_of(key_slot(self.key))
        if shard is None:
            raise UnreachableError(f"no primary owns slot {key_slot(self.key)}, where the lock of the sweep belongs")
        address, asking = shard.address, False
        said = ""
        for _ in range(_HOPS):
            link = connect(address)
            try:
                reply = link.pipeline([pack((b"ASKING",))] * asking + [pack((command, self.key, *more))])[-1]
            finally:
                link.close()
            trouble = judge(reply)
            if trouble is None:
                return reply
            said = f"{link.name} does not take the lock's {command.decode()}: {trouble.text}"
            if trouble.kind is ReplyKind.DENIED:
                raise denial(link.name, f"{trouble.text} (the lock of the sweep needs SET and GET)")
            if not isinstance(reply, exceptions.AskError):
                break
            address = Address(reply.host or address.host, reply.port)
            asking = not isinstance(reply, exceptions.MovedError)  # which derives from AskError
        raise UnreachableError(said)
