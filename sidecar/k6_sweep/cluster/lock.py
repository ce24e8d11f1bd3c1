"""Holds the lock with which several endpoints run one sweep at a time: a key in Redis that expires by itself.

The key matches the patterns of the sweep, so that a user with permissions for no other keys can set it. The lock is a
courtesy, not a safeguard: two sweeps at the same time delete nothing that one sweep alone would not delete.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from k6_sweep.cluster.link import Connect, pack
from k6_sweep.cluster.own_keys import MARK, ask_owner, own_key, reused
from k6_sweep.cluster.replies import ReplyKind, denial, judge, parsing
from k6_sweep.cluster.sentinel import seeds
from k6_sweep.cluster.slots import key_slot
from k6_sweep.cluster.topology import discover
from k6_sweep.errors import UnreachableError
from k6_sweep.log import Log, LogEvent
from k6_sweep.patterns import Pattern
from k6_sweep.settings.all import Settings

_NAME: Final = b"lock"
_ATTEMPTS: Final = 5
_PATIENCE: Final = 2.0
"""Seconds that Redis may take for each step while k6-sweep takes the lock."""
_LAST_PATIENCE: Final = 0.5
"""The same for a renewal, and for the release, which may have to finish before a SIGKILL."""


class _FullError(Exception):
    """Redis has no memory for the lock.

    Source: https://redis.io/docs/latest/develop/reference/eviction/ (noeviction)
    """


def lock_key(patterns: Sequence[Pattern]) -> bytes:
    """Return the lock's key: one that a pattern matches; if no pattern has a star, one next to the first pattern's."""
    keys = (own_key(pattern, _NAME) for pattern in patterns)
    return next((key for key in keys if key is not None), patterns[0].raw + b":" + MARK + _NAME)


class SweepLock:
    """The lock, which one sweep at a time holds.

    Its methods raise `UnreachableError` if Redis does not answer, `DeniedError` if the user may not SET or GET.

    Source: https://redis.io/docs/latest/commands/set/ (NX and PX).
    """

    def __init__(self, settings: Settings, connect_within: Callable[[float], Connect], log: Log) -> None:
        """Prepare; `connect_within(seconds)` returns a `Connect` with this time limit for each step of its links."""
        self._url = settings.redis_url
        self._connect_within = connect_within
        self._log = log
        self.key = lock_key(settings.pattern)

    def take(self, owner: str, seconds: float) -> str | None:
        """Take the lock, which expires after `seconds`; return None, or the owner if another sweep holds it.

        A Redis that is full refuses the lock, but needs the sweep most: then the sweep runs without a lock.
        """
        # Redis refuses PX 0.
        milliseconds = max(1, int(seconds * 1000))
        for _ in range(_ATTEMPTS):
            try:
                if self._ask(_PATIENCE, b"SET", owner, b"NX", b"PX", milliseconds) is not None:
                    return None
            except _FullError as error:
                if (holder := self._holder(_PATIENCE)) is None:
                    self._log.warning(LogEvent.LOCK_NOT_TAKEN, problem=str(error))
                return holder
            # The lock may expire between SET and GET: then the next SET takes it.
            if (holder := self._holder(_PATIENCE)) is not None:
                return holder
        raise UnreachableError("could not take the sweep lock: it kept changing hands; retry")

    def renew(self, owner: str, seconds: float) -> None:
        """Let the lock expire after `seconds` from now, if the owner still holds it."""
        # Two commands, and no script: if the lock changes hands between them, two sweeps run, which does no harm.
        # See docs/decisions/0008-one-endpoint-not-a-controller.md.
        if self._holder(_LAST_PATIENCE) == owner:
            milliseconds = max(1, int(seconds * 1000))  # Redis refuses PX 0
            self._ask(_LAST_PATIENCE, b"SET", owner, b"XX", b"PX", milliseconds)

    def release(self, owner: str) -> None:
        """Release the lock if the owner still holds it."""
        self.renew(owner, 0.0)  # the key expires: only a sweep deletes keys

    def _holder(self, patience: float) -> str | None:
        value: bytes | None = self._ask(patience, b"GET")
        with parsing("a server", "GET", value):
            return None if value is None else value.decode("ascii", "replace")

    def _ask(self, patience: float, command: bytes, *more: bytes | str | int) -> Any:  # a reply has any shape
        """Send a command on the lock's key to the node that owns the key."""
        connect = self._connect_within(patience)
        topology = discover(connect, seeds(self._url, connect))
        with reused(connect) as links:
            answers = ask_owner(links, topology, key_slot(self.key), [pack((command, self.key, *more))])
        (reply,) = answers.replies
        trouble = judge(reply)
        if trouble is None:
            return reply
        refusal = f"{answers.node} does not accept {command.decode()} on the sweep lock: {trouble.text}"
        if trouble.text.startswith("OOM"):
            raise _FullError(refusal)
        if trouble.kind is ReplyKind.DENIED:
            raise denial(answers.node, f"{trouble.text} (the sweep lock needs SET and GET)")
        raise UnreachableError(refusal)
