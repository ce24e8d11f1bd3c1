"""Decides which of several tests on one Redis sweeps when: comparisons only, as `budget` decides from times.

k6 has ended ── no running test uses keys of these patterns ─► SWEEP
├────────────── a running test will delete all of them ──────► HAND_OVER: the last one out sweeps
├────────────── another running test uses some of them ──────► WAIT
└────────────── and it still runs when the time is over ─────► GIVE_UP
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Final, NamedTuple

from k6_sweep.patterns import Pattern

LIFETIME: Final = 600.0
"""Seconds that the entry of a running test lasts after its last renewal."""
RENEWAL: Final = LIFETIME / 2
"""Seconds between two renewals. An entry that is renewed in time lasts this much longer, so clocks may differ."""


class Step(Enum):
    """What a test's watcher does after k6's end."""

    SWEEP = "sweep"
    HAND_OVER = "hand over"
    WAIT = "wait"
    GIVE_UP = "give up"


@dataclass(frozen=True)
class Entry:
    """A test in the register: it is running, or it has ended and its keys are still to be deleted."""

    run: str
    """The id of its watcher, which a restarted watcher of the same pod has too."""
    who: str
    """The pod, or the host, of its watcher."""
    since: float
    """When the watcher began, in seconds since 1970; when the test ended, if its sweep is owed."""
    patterns: tuple[Pattern, ...]
    keep: tuple[Pattern, ...] = ()
    sweeps: bool = True
    """Whether its watcher will delete all keys of its patterns, except those of `keep`, whatever k6's result is."""
    owed: bool = False
    """Whether the test has ended without a complete sweep."""

    def __str__(self) -> str:
        at = datetime.fromtimestamp(self.since, UTC).isoformat(" ", "seconds")
        return f"{self.who} ({'ended' if self.owed else 'since'} {at})"

    @property
    def state(self) -> str:
        """Whether the test is `running`, or has ended and its sweep is `owed`."""
        return "owed" if self.owed else "running"

    def overlaps(self, patterns: Iterable[Pattern]) -> bool:
        """Return False only if it is proven that the test has no key of these patterns."""
        return any(ours.overlaps(theirs) for ours in self.patterns for theirs in patterns)

    def covers(self, other: "Entry") -> bool:
        """Return True only if it is proven that this test's sweep deletes all keys that the other one's would."""
        spared = (keep for keep in self.keep if any(map(keep.overlaps, other.patterns)))
        return (
            self.sweeps
            and all(any(map(pattern.is_within, self.patterns)) for pattern in other.patterns)
            and all(any(map(keep.is_within, other.keep)) for keep in spared)
        )


class Decision(NamedTuple):
    """The next step, and the test that is the reason for it."""

    step: Step
    other: Entry | None = None


def decide(mine: Entry, register: Sequence[Entry], now: float, wait_until: float) -> Decision:
    """Return the next step of a watcher whose k6 has ended; `wait_until` is on the clock of `now`."""
    others = [entry for entry in running(register, mine.patterns) if entry.run != mine.run]
    if not others:
        return Decision(Step.SWEEP)
    if heir := next((entry for entry in others if entry.covers(mine)), None):
        return Decision(Step.HAND_OVER, heir)
    return Decision(Step.WAIT if now < wait_until else Step.GIVE_UP, others[0])


def running(register: Iterable[Entry], patterns: Sequence[Pattern]) -> list[Entry]:
    """Return the running tests that a sweep of these patterns would disturb, the oldest first."""
    found = [entry for entry in register if not entry.owed and entry.overlaps(patterns)]
    return sorted(found, key=lambda entry: (entry.since, entry.run))


def owed(register: Iterable[Entry], patterns: Sequence[Pattern]) -> Iterator[Entry]:
    """Yield the tests that have ended without a sweep, and may have keys of these patterns."""
    return (entry for entry in register if entry.owed and entry.overlaps(patterns))


def settled(sweeper: Entry, register: Iterable[Entry]) -> Iterator[Entry]:
    """Yield the owed sweeps that a complete sweep has done: those of the tests that had ended before it began."""
    return (entry for entry in register if entry.owed and (entry.run == sweeper.run or sweeper.covers(entry)))
