"""What is known of a target by now, and what follows from it: facts in, verdict out."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from sidecar.target import Target
from sidecar.watch.controllers import Controller
from sidecar.watch.outcome import K6Outcome
from sidecar.watch.pods import K6Pod

LINGER: Final = 60.0
"""Seconds that k6 may live on, beyond its grace period, after its Job or TestRun is over: then it is overdue."""


@dataclass(frozen=True)
class Verdict:
    """What follows at one moment."""

    seen: bool
    """Whether k6 has run."""
    ended: bool
    """Whether all of it has ended, or never ran, with no more to come."""
    overdue: float | None
    """When it is overdue; None while nothing has said that it should have ended."""
    changes: float
    """When this may change without any news; infinity for never."""


class Known:
    """Collects what is told of a target's pods, and of what makes them. Times are of one clock, in seconds.

    What may still run is never forgotten: a pod leaves by its end, or by its disappearance once its grace period has
    passed as well, for a pod that was deleted may run on so long. An end is believed whatever is told later: lists and
    changes come by different ways, and an older one may come last.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self.pods: dict[str, K6Pod] = {}
        self._gone: dict[str, float] = {}
        """Until when a pod that has disappeared may run on."""
        self._controller: Controller | None = None
        self._controller_gone = False
        self._over_since: float | None = None

    def pods_are(self, pods: Iterable[K6Pod], now: float) -> None:
        """Take in all pods that there are."""
        present = {pod.uid: pod for pod in pods}
        for pod in present.values():
            self.pod_is(pod)
        for uid in self.pods.keys() - present.keys() - self._gone.keys():
            self._gone[uid] = now + _may_run_on(self.pods[uid])

    def pod_is(self, pod: K6Pod) -> None:
        """Take in one pod."""
        before = self.pods.get(pod.uid)
        self._gone.pop(pod.uid, None)
        if before and before.ended and not pod.ended:
            return
        self.pods[pod.uid] = replace(pod, ran=pod.ran or (before is not None and before.ran))

    def pod_is_gone(self, pod: K6Pod, now: float) -> None:
        """Take in a pod as it was last."""
        before = self.pods.get(pod.uid, pod)
        self.pod_is(pod)
        self._gone[pod.uid] = now + max(_may_run_on(before), _may_run_on(pod))

    def controller_is(self, controller: Controller | None, now: float) -> None:
        """Take in the Job or TestRun; None where there is none."""
        if controller is None:
            self._controller_gone = self._controller is not None
        else:
            self._controller, self._controller_gone = controller, False
        over = self._controller is not None and (self._controller_gone or self._controller.over)
        self._over_since = (self._over_since or now) if over else None

    def alive(self, now: float) -> list[K6Pod]:
        """Return the pods whose k6 may still run, or run later."""
        return [pod for uid, pod in self.pods.items() if not pod.ended and now < self._gone.get(uid, float("inf"))]

    def verdict(self, now: float) -> Verdict:
        """Say how things stand."""
        waits = [until for uid, until in self._gone.items() if not self.pods[uid].ended and until > now]
        alive = self.alive(now)
        lingers = LINGER + max((_may_run_on(pod) for pod in alive), default=0.0)
        return Verdict(
            seen=any(pod.ran for pod in self.pods.values()) or bool(self._controller and self._controller.ran),
            ended=not alive and self._no_more_to_come(),
            overdue=None if self._over_since is None else self._over_since + lingers,
            changes=min(waits, default=float("inf")),
        )

    def _no_more_to_come(self) -> bool:
        if self._target.controller is None:
            return bool(self.pods)
        if self._controller is None:
            return False
        return self._controller_gone or not self._controller.expects_more(self.pods.values())

    def outcome(self, now: float, *, seen: bool, ended: bool) -> K6Outcome:
        """Return what became of k6, as far as it is known."""
        complete = self._controller is not None and self._controller.complete
        failed = self._controller is not None and self._controller.failed
        ended_pods = [pod for pod in self.pods.values() if pod.ended and not (complete and pod.exit_code)]
        bad = [pod for pod in ended_pods if pod.exit_code]
        codes = {pod.exit_code for pod in ended_pods}
        unknown = None in codes or not codes or len(ended_pods) < len(self.pods)
        reasons = [pod.reason for pod in (bad or ended_pods) if pod.reason]
        times = [pod.ended_at for pod in ended_pods if pod.ended_at]
        return K6Outcome(
            seen=seen,
            ended=ended,
            detector="kubernetes",
            exit_code=bad[0].exit_code if bad else (None if unknown and not complete else 0),
            ended_at=max(times, default=datetime.now(UTC)) if ended else None,
            told_reason=next(iter(reasons), None) or (self._controller.reason if self._controller else None),
            called=False if failed else (True if complete else None),
            why=self._why(now, ended=ended),
        )

    def _why(self, now: float, *, ended: bool) -> str:
        """Say in words what is known of a k6 that was not seen, or had not ended."""
        if not self.pods:
            return f"{self._target} has no pods" + (" any more" if self._over_since is not None else "")
        states = {pod.name: pod.reason or "running" for pod in (self.pods.values() if ended else self.alive(now))}
        return ", ".join(f"pod {name}: {state}" for name, state in sorted(states.items())[:3])


def _may_run_on(pod: K6Pod) -> float:
    return max(pod.grace_period, pod.own_grace_period)
