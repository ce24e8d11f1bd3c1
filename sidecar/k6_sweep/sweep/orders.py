"""What all parts of a sweep share: what to look for, how much may be deleted, and what was deleted."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from k6_sweep.sweep.matcher import Counts, Matcher
from k6_sweep.sweep.probes import Probes
from k6_sweep.sweep.result import OnFound
from k6_sweep.sweep.slowness import Times

_UNBOUNDED: Final = 2**31
_WRITES_A_SECOND: Final = 20
"""A limited rate is spread over at least this number of writes per second."""
_NAP: Final = 0.1
"""Seconds between two checks of the remaining time, so that a wait ends soon after a signal."""


def most_at_once(rate: int | None) -> int:
    """Return the maximum number of keys that one write deletes, so that a limited rate is even over time."""
    return max(1, (rate or _UNBOUNDED) // _WRITES_A_SECOND)


class LimitReachedError(Exception):
    """There are more keys than allowed; the delete that would exceed the limit was not sent."""


class Allowance:
    """How many more keys may be deleted, over all shards; `None` means no limit."""

    def __init__(self, keys: int | None) -> None:
        self._left = keys
        self._lock = threading.Lock()

    def take(self, keys: int) -> None:
        """Take a number of keys from the allowance.

        Raises:
            LimitReachedError: Fewer keys are left; nothing was taken.
        """
        if self._left is None:
            return
        with self._lock:
            if keys > self._left:
                raise LimitReachedError
            self._left -= keys

    def give_back(self, keys: int) -> None:
        """Put back a number of keys that a server did not delete."""
        if self._left is not None:
            with self._lock:
                self._left += keys


class Pace:
    """Spreads the deletes of all shards over time: at most `rate` keys per second; `None` means no limit."""

    def __init__(
        self, rate: int | None, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._free_at = clock()
        self._lock = threading.Lock()

    @property
    def limited(self) -> bool:
        """Whether there is a limit: then replies must not wait until the next write may be sent."""
        return self._rate is not None

    def wait(self, keys: int, remaining: Callable[[], float]) -> float:
        """Wait until this number of keys may be deleted, or until no time remains; return the seconds waited."""
        if self._rate is None or not keys:
            return 0.0
        began = self._clock()
        with self._lock:
            start = max(self._free_at, began)
            self._free_at = start + keys / self._rate
        while (left := min(start - self._clock(), remaining())) > 0:
            self._sleep(min(left, _NAP))
        return self._clock() - began


@dataclass(frozen=True)
class Orders:
    """One sweep's orders, the same for all shards."""

    matcher: Matcher
    probes: Probes
    delete: bool
    most_at_once: int
    """The maximum number of keys that one write deletes, so that a limited rate is even over time."""
    remaining: Callable[[], float]
    """Seconds left; at 0 or less every worker stops before its next write."""
    pace: Pace
    allowance: Allowance
    on_found: OnFound | None = None
    """If nothing is deleted: gets the keys that would be."""
    probe_commands: dict[int, bytes] = field(default_factory=dict)
    """Packed once for each slot, because each command is sent four times."""


@dataclass
class Tally:
    """What one worker found and did on one shard; only one thread writes it."""

    matched: list[int]
    """For each pattern, the number of its keys that were deleted, or found in a dry run."""
    deleted: int = 0
    preserved: Counter[int] = field(default_factory=Counter)
    """Number of keys spared, by the pattern that owns them."""
    asked: int = 0
    """Number of slots assigned to this worker."""
    finished: set[int] = field(default_factory=set)
    """The slots that are proven to be swept."""
    moving: set[int] = field(default_factory=set)
    """The finished slots that were moving, and were swept on both nodes."""
    unsure: list[str] = field(default_factory=list)
    """Why `deleted` may be lower than the true number; empty if it is exact."""
    broken: bool = False
    """Whether the connection broke: the keys that were deleted before may be back."""
    times: Times | None = None
    """How the worker spends its time, since it has a link."""
    trouble: dict[int, str] = field(default_factory=dict)
    """For each slot that could not be finished, the server's last error."""

    def count(self, counts: Counts) -> None:
        """Count keys for the patterns that own them."""
        for owner, count in counts:
            self.matched[owner] += count

    def spare(self, counts: Counts) -> None:
        """Count keys that were spared."""
        for owner, count in counts:
            self.preserved[owner] += count

    def finish(self, slot: int) -> None:
        """Record that a slot is proven, and drop its earlier error."""
        self.finished.add(slot)
        self.trouble.pop(slot, None)
