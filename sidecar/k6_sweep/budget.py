"""Decides from past events and their times whether to keep waiting for k6, to sweep, or to give up: arithmetic only.

never seen ── a signal, or --start-timeout ──────────────────────────────► UNSEEN
│
seen ───── its end ──────────────────────────────────────────────────► SWEEP
├─────── the reserve for the sweep begins, --max-wait, or overdue ──► SWEEP, and report that k6 had not ended
└─────── a second signal ──────────────────────────────────────────► STOP
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

_LEAST_GRACE: Final = 2.0
"""Minimum seconds that the kubelet leaves a container between SIGTERM and SIGKILL."""
EXIT_RESERVE: Final = 2.0
"""Seconds of the grace period that k6-sweep keeps for the report and the exit."""
ASSUMED_GRACE_PERIOD: Final = 30.0
"""Seconds; Kubernetes' own default for a pod."""


class Step(Enum):
    """The next step."""

    WAIT = "wait"
    SWEEP = "sweep"
    UNSEEN = "unseen"
    STOP = "stop"


@dataclass(frozen=True)
class Facts:
    """The events so far; times are seconds on one clock, and None means that the event has not happened."""

    began: float
    """When the wait began."""
    seen: float | None = None
    """When k6 was first seen."""
    ended: bool = False
    first_signal: float | None = None
    urgent: bool = False
    """Whether a second signal, or SIGINT, has come."""
    overdue: float | None = None
    """When k6 counts as overdue: its controller has already reported the end before."""


@dataclass(frozen=True)
class Budget:
    """Time limits in seconds; None means no limit."""

    timeout: float
    """The time limit of the whole sweep."""
    grace_period: float = ASSUMED_GRACE_PERIOD
    """From the first signal to SIGKILL."""
    killed_at: float | None = None
    """When SIGKILL comes, if known: a native sidecar gets its first signal after k6 has used its share."""
    k6_dies_with_us: bool = True
    """Whether the signal that ends k6-sweep also ends k6: if not, the end of k6-sweep is no reason to sweep."""
    start_timeout: float | None = None
    """How long to wait for k6 to appear."""
    max_wait: float | None = None
    """How long to wait for k6 to end."""
    late_news: float = 0.0
    """The longest delay between an event of k6 and the news of it."""

    def decide(self, facts: Facts, now: float) -> tuple[Step, float]:
        """Return the next step, and for WAIT the time at which to decide again (infinity: only after a new event)."""
        if facts.seen is None:
            limits = [self._give_up(facts)]
            step = Step.UNSEEN
        elif facts.ended:
            return Step.SWEEP, now
        else:
            reserve = self._reserve_begins(facts)
            limits = [reserve, facts.overdue, _sum(facts.seen, self.max_wait)]
            broken_off = reserve is not None and now >= reserve and not self.k6_dies_with_us
            step = Step.STOP if facts.urgent or broken_off else Step.SWEEP
        until = min((limit for limit in limits if limit is not None), default=float("inf"))
        return (step, now) if facts.urgent or now >= until else (Step.WAIT, until)

    def sweep_until(self, deadline: float, first_signal: float | None) -> float:
        """Return when the sweep must end: at its deadline, or EXIT_RESERVE before the end of the grace period."""
        if first_signal is None:
            return deadline
        left = self._left(first_signal)
        return min(deadline, first_signal + left - min(EXIT_RESERVE, left / 4))

    def wait_for_others_until(self, ended: float, first_signal: float | None) -> float:
        """Return until when a watcher whose k6 has ended may wait for other tests, so that its sweep has time then."""
        limits = (_sum(ended, self.max_wait), None if first_signal is None else self._sweep_at(first_signal))
        return min((limit for limit in limits if limit is not None), default=float("inf"))

    def _give_up(self, facts: Facts) -> float | None:
        if facts.first_signal is None:
            return _sum(facts.began, self.start_timeout)
        return min(facts.first_signal + self.late_news, self._sweep_at(facts.first_signal))

    def _reserve_begins(self, facts: Facts) -> float | None:
        return None if facts.first_signal is None else self._sweep_at(facts.first_signal)

    def _sweep_at(self, first_signal: float) -> float:
        """Return when the wait must end so that the sweep has time; in a short grace period, at half of it."""
        left = self._left(first_signal)
        return first_signal + max(left - self.timeout - EXIT_RESERVE, left / 2)

    def _left(self, first_signal: float) -> float:
        """Return the seconds from the first signal to SIGKILL."""
        if self.killed_at is None:
            return self.grace_period
        return min(self.grace_period, max(self.killed_at - first_signal, _LEAST_GRACE))


def _sum(start: float, length: float | None) -> float | None:
    return None if length is None else start + length
