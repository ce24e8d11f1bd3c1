"""What every part of a sweep shares: what to look for, how much may be done, and what was done."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from k6_sweep.sweep.matcher import Counts, Matcher
from k6_sweep.sweep.probes import Probes

_NAP: Final = 0.1
"""A signal is noticed after so many seconds of waiting."""


class LimitReachedError(Exception):
    """More keys than are allowed; the delete that would have gone beyond was not sent."""


class Allowance:
    """How many more keys may be deleted, over all shards; `None` is no bound."""

    def __init__(self, keys: int | None) -> None:
        self._left = keys
        self._lock = threading.Lock()

    def take(self, keys: int) -> None:
        """Use up some of it.

        Raises:
            LimitReachedError: There is not so much left; nothing was taken.
        """
        if self._left is None:
            return
        with self._lock:
            if keys > self._left:
                raise LimitReachedError
            self._left -= keys

    def give_back(self, keys: int) -> None:
        """Return what a server said that it has not deleted."""
        if self._left is not None:
            with self._lock:
                self._left += keys


class Pace:
    """Spreads the deletes of all shards over time: at most `rate` keys a second; `None` is as fast as it goes."""

    def __init__(
        self, rate: int | None, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._free_at = clock()
        self._lock = threading.Lock()

    def wait(self, keys: int, remaining: Callable[[], float]) -> None:
        """Wait until so many keys may be deleted, or until no time remains."""
        if self._rate is None or not keys:
            return
        with self._lock:
            start = max(self._free_at, self._clock())
            self._free_at = start + keys / self._rate
        while (left := min(start - self._clock(), remaining())) > 0:
            self._sleep(min(left, _NAP))


@dataclass(frozen=True)
class Orders:
    """One sweep's orders, the same for all shards."""

    matcher: Matcher
    probes: Probes
    delete: bool
    most_at_once: int
    """The most keys that are deleted in one write, so that a bounded rate is held evenly."""
    remaining: Callable[[], float]
    """Seconds left; at 0 or less everybody stops before the next write."""
    pace: Pace
    allowance: Allowance
    on_found: Callable[[Sequence[bytes]], None] | None = None
    """Where nothing is deleted: gets the keys that match, some perhaps twice. Called from several threads."""
    probe_commands: dict[int, bytes] = field(default_factory=dict)
    """Packed once for each slot: they are sent four times."""


@dataclass
class Tally:
    """What was found and done on one shard in one pass; one thread writes it."""

    matched: list[int]
    """For each pattern, the keys that it owns: deleted, or in a dry run found."""
    deleted: int = 0
    preserved: Counter[int] = field(default_factory=Counter)
    """Keys spared, by the pattern that owns them."""
    asked: int = 0
    """How many slots it is about."""
    finished: set[int] = field(default_factory=set)
    """The slots that were proven to be swept."""
    moving: set[int] = field(default_factory=set)
    """Those of them that were on their way, and were swept on both nodes."""
    unsure: list[str] = field(default_factory=list)
    """Why `deleted` may be less than what happened; empty where it is exact."""
    broken: bool = False
    """Whether the connection broke: what was swept before may be back."""
    trouble: dict[int, str] = field(default_factory=dict)
    """For slots that could not be finished, what the server said."""

    def count(self, counts: Counts) -> None:
        """Count keys for the patterns that own them."""
        for owner, count in counts:
            self.matched[owner] += count

    def spare(self, counts: Counts) -> None:
        """Count keys that were spared."""
        for owner, count in counts:
            self.preserved[owner] += count

    def finish(self, slot: int) -> None:
        """Note that a slot is proven, whatever it answered before."""
        self.finished.add(slot)
        self.trouble.pop(slot, None)
