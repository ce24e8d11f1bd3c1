"""Treats SIGTERM as the end of k6, for users who know that this is true in their pod."""

from datetime import UTC, datetime

from k6_sweep.budget import Budget
from k6_sweep.lifecycle import Events
from k6_sweep.watch.outcome import K6Outcome


class SignalWatch:
    """One wait for SIGTERM, which a native sidecar gets when the main containers have ended.

    The sidecar also gets SIGTERM if k6 never started or if the pod is deleted, and cannot distinguish these cases.

    Source: https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/ (Pod termination).
    """

    def __init__(self, budget: Budget, events: Events) -> None:
        self._budget = budget
        self._events = events

    def run(self) -> tuple[K6Outcome, Budget]:
        """Wait for the first signal."""
        while self._events.first_signal is None:
            self._events.wait([], None)
        # Assumed, not observed: with this detector, the user decides that SIGTERM means both.
        return K6Outcome(seen=True, ended=True, detector="signal", ended_at=datetime.now(UTC)), self._budget
