"""Decides from what has happened, and when, whether to wait on for k6, to sweep, or to give up: arithmetic only.

never seen ── a signal, or --start-timeout ──────────────────────────────► UNSEEN
│
seen ───── its end ──────────────────────────────────────────────────► SWEEP
├─────── the reserve for the sweep begins, --max-wait, or overdue ──► SWEEP, and say that k6 had not ended
└─────── a second signal ──────────────────────────────────────────► STOP
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

_LEAST_GRACE: Final = 2.0
"""Seconds that the kubelet leaves a container at the least between SIGTERM and SIGKILL."""
EXIT_RESERVE: Final = 2.0
"""Seconds of the grace period that are kept for the report and the exit."""
ASSUMED_GRACE_PERIOD: Final = 30.0
"""Kubernetes' own default for a pod."""


class Step(Enum):
    """What to do next."""

    WAIT = "wait"
    SWEEP = "sweep"
    UNSEEN = "unseen"
    STOP = "stop"


@dataclass(frozen=True)
class Facts:
    """What has happened; times are seconds on one clock, None is what has not."""

    began: float
    """When the wait began."""
    seen: float | None = None
    """When k6 was first seen."""
    ended: bool = False
    first_signal: float | None = None
    urgent: bool = False
    """A second signal, or SIGINT, has come."""
    overdue: float | None = None
    """When k6 counts as overdue: what controls it has said before that it is over."""


@dataclass(frozen=True)
class Budget:
    """How long things may take, in seconds; None is as long as it takes."""

    timeout: float
    """The longest that the sweep may take."""
    grace_period: float = ASSUMED_GRACE_PERIOD
    """From the first signal to SIGKILL."""
    killed_at: float | None = None
    """When SIGKILL comes, where that is known: a native sidecar's first signal comes when k6 has used up its share."""
    k6_dies_with_us: bool = True
    """Whether what ends us ends k6, too: where it doesn't, our end is no reason to sweep."""
    start_timeout: float | None = None
    """How long to wait for k6 to appear."""
    max_wait: float | None = None
    """How long to wait for k6 to end."""
    late_news: float = 0.0
    """How long after the fact the news of a k6 may come."""

    def decide(self, facts: Facts, now: float) -> tuple[Step, float]:
        """Return what to do, and until when to WAIT for something new at the longest (infinity: until it comes)."""
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
        """Return when the sweep must end: at its deadline, or a reserve before the end of the grace period."""
        if first_signal is None:
            return deadline
        left = self._left(first_signal)
        return min(deadline, first_signal + left - min(EXIT_RESERVE, left / 4))

    def _give_up(self, facts: Facts) -> float | None:
        if facts.first_signal is None:
            return _sum(facts.began, self.start_timeout)
        return min(facts.first_signal + self.late_news, self._sweep_at(facts.first_signal))

    def _reserve_begins(self, facts: Facts) -> float | None:
        return None if facts.first_signal is None else self._sweep_at(facts.first_signal)

    def _sweep_at(self, first_signal: float) -> float:
        """Return when waiting must end so that the sweep fits in: with half a grace period that is too short for it."""
        left = self._left(first_signal)
        return first_signal + max(left - self.timeout - EXIT_RESERVE, left / 2)

    def _left(self, first_signal: float) -> float:
        """Return the seconds from the first signal to SIGKILL."""
        if self.killed_at is None:
            return self.grace_period
        return min(self.grace_period, max(self.killed_at - first_signal, _LEAST_GRACE))


def _sum(start: float, length: float | None) -> float | None:
    return None if length is None else start + length
