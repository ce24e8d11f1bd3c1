"""Holds the lock with which several endpoints run one sweep at a time: a key in Redis that expires by itself.

The lock is a courtesy, not a safeguard: two sweeps at the same time delete nothing that one sweep alone would not
delete.
"""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from k6_sweep.cluster.endpoint_keys import LAST_PATIENCE, PATIENCE, EndpointKeys, FullError
from k6_sweep.cluster.replies import parsing
from k6_sweep.errors import UnreachableError
from k6_sweep.log import Log, LogEvent

LOCK_NAME: Final = b"lock"
_WHAT: Final = "sweep lock"
_ATTEMPTS: Final = 5


@dataclass(frozen=True)
class Holder:
    """The sweep that holds the lock."""

    id: str
    who: str | None = None
    """The pod, or the host, of its replica; None if an older version took the lock."""
    since: float | None = None
    """When the sweep began, in seconds since 1970."""

    def __str__(self) -> str:
        of = f" of {self.who}" if self.who else ""
        return f"sweep {self.id}{of}" + ("" if self.since is None else f" (since {in_utc(self.since)})")


class SweepLock:
    """The lock, which one sweep at a time holds.

    Its methods raise `UnreachableError` if Redis does not answer, `DeniedError` if the user may not SET or GET.

    Source: https://redis.io/docs/latest/commands/set/ (NX and PX).
    """

    def __init__(self, keys: EndpointKeys, log: Log) -> None:
        self._keys = keys
        self._log = log
        self.key = keys.key(LOCK_NAME)

    def take(self, holder: Holder, seconds: float) -> Holder | None:
        """Take the lock, which expires after `seconds`; return None, or its holder if that is another sweep.

        A Redis that is full refuses the lock, but needs the sweep most: then the sweep runs without a lock.
        """
        for _ in range(_ATTEMPTS):
            try:
                if self._set(PATIENCE, holder, b"NX", seconds):
                    return None
            except FullError as error:
                if (other := self._holder(PATIENCE)) is None:
                    self._log.warning(LogEvent.LOCK_NOT_TAKEN, problem=str(error))
                return other
            # The lock may expire between SET and GET: then the next SET takes it.
            if (other := self._holder(PATIENCE)) is not None:
                return other
        raise UnreachableError("could not take the sweep lock: it kept changing hands; retry")

    def renew(self, holder: Holder, seconds: float) -> None:
        """Let the lock expire after `seconds` from now; take it if no sweep holds it, as after a failover."""
        # Two commands, and no script: if the lock changes hands between them, two sweeps run, which does no harm.
        # See docs/decisions/0008-one-endpoint-not-a-controller.md.
        now = self._holder(LAST_PATIENCE)
        if now is None or now.id == holder.id:
            self._set(LAST_PATIENCE, holder, b"XX" if now else b"NX", seconds)

    def release(self, holder: Holder) -> None:
        """Release the lock if this sweep still holds it."""
        now = self._holder(LAST_PATIENCE)
        if now and now.id == holder.id:
            self._set(LAST_PATIENCE, holder, b"XX", 0.0)  # the key expires: only a sweep deletes keys

    def _set(self, patience: float, holder: Holder, condition: bytes, seconds: float) -> bool:
        milliseconds = max(1, int(seconds * 1000))  # Redis refuses PX 0
        value = json.dumps(asdict(holder), separators=(",", ":"))
        (reply,) = self._keys.ask(_WHAT, patience, ("SET", self.key, value, condition, b"PX", milliseconds))
        return reply is not None

    def _holder(self, patience: float) -> Holder | None:
        (value,) = self._keys.ask(_WHAT, patience, ("GET", self.key))
        return holder_in(value)


def holder_in(value: Any) -> Holder | None:
    """Return the holder that the lock's value names, also if it is the bare id that older versions write."""
    with parsing("a server", "GET", value):
        if value is None:
            return None
        text = value.decode("utf-8", "replace")
    try:
        body = json.loads(text)
        found = Holder(str(body["id"]), str(body["who"]), float(body["since"]))
        str(found)  # its time is one that can be shown
    except (ValueError, TypeError, KeyError, OverflowError, OSError, RecursionError):
        return Holder(text)
    return found


def in_utc(since: float) -> str:
    """Return a time in seconds since 1970 in the format of the report."""
    return datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
