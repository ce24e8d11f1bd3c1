"""Takes SIGTERM for the end of k6: the choice of somebody who knows that it is so."""

from datetime import UTC, datetime

from k6_sweep.budget import Budget
from k6_sweep.lifecycle import Events
from k6_sweep.watch.outcome import K6Outcome


class SignalWatch:
    """One wait for SIGTERM, which a native sidecar gets when the main containers have ended.

    It gets it as well when k6 never started, and when the pod is deleted, and cannot tell one from the other.

    Source: https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/ (Pod termination).
    """

    def __init__(self, budget: Budget, events: Events) -> None:
        self._budget = budget
        self._events = events

    def run(self) -> tuple[K6Outcome, Budget]:
        """Wait for the first signal."""
        while self._events.first_signal is None:
            self._events.wait([], None)
        return K6Outcome(seen=True, ended=True, detector="signal", ended_at=datetime.now(UTC)), self._budget
