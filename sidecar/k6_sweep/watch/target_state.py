"""Collects the known facts about a target and derives a verdict from them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from k6_sweep.kube.controllers import Controller
from k6_sweep.kube.pods import K6Pod
from k6_sweep.settings.target import Target
from k6_sweep.watch.outcome import K6Outcome

LINGER: Final = 60.0
"""Seconds, in addition to the grace period, that k6 may run after its Job or TestRun is over; then it is overdue.

A pod on a lost node never reports its end: without a limit, the watch would never end.
"""


@dataclass(frozen=True)
class TargetVerdict:
    """What is known about k6 at one moment."""

    seen: bool
    """Whether k6 has run."""
    ended: bool
    """Whether every k6 has ended or never ran, and no more pods will start."""
    overdue: float | None
    """When k6 is overdue; None while its Job or TestRun is neither over nor deleted."""
    changes: float
    """When the verdict may change without any news; infinity means never."""


class TargetState:
    """Tracks the pods of a target and the Job or TestRun that owns them. All times are seconds of one clock.

    A pod counts as running until it ends, or until it disappears and its grace period has also passed, because a
    deleted pod may run for that time. A pod that has ended stays ended, no matter what news arrives later: lists and
    changes arrive on different connections, and older news may arrive last.
    """

    def __init__(self, target: Target, namespace: str, believes_absence_from: float = 0.0) -> None:
        """Prepare; until `believes_absence_from`, a Job or TestRun that was never seen may still appear."""
        self._target = target
        self._namespace = namespace
        self._believes_absence_from = believes_absence_from
        self.pods: dict[str, K6Pod] = {}
        self._gone: dict[str, float] = {}
        """For each pod that has disappeared, the time until which it may still run."""
        self._controller: Controller | None = None
        self._absent = False
        """Whether the latest news shows no Job or TestRun."""
        self._over_since: float | None = None

    def pods_are(self, pods: Iterable[K6Pod], now: float) -> None:
        """Record all pods that exist."""
        present = {pod.uid: pod for pod in pods}
        for pod in present.values():
            self.pod_is(pod)
        for uid in self.pods.keys() - present.keys() - self._gone.keys():
            self._gone[uid] = now + _may_run_on(self.pods[uid])

    def pod_is(self, pod: K6Pod) -> None:
        """Record the current state of one pod."""
        before = self.pods.get(pod.uid)
        self._gone.pop(pod.uid, None)
        if before and before.ended and not pod.ended:
            return
        if before:
            # `kubectl delete job --cascade=orphan` removes the owner from the pods.
            pod = replace(pod, ran=pod.ran or before.ran, owner=pod.owner or before.owner)
        self.pods[pod.uid] = pod

    def pod_is_gone(self, pod: K6Pod, now: float) -> None:
        """Record the last state of a pod that has disappeared."""
        before = self.pods.get(pod.uid, pod)
        self.pod_is(pod)
        self._gone[pod.uid] = now + max(_may_run_on(before), _may_run_on(pod))

    def controller_is(self, controller: Controller | None) -> None:
        """Record the Job or TestRun; None if there is none."""
        self._absent = controller is None
        self._controller = controller or self._controller

    def alive(self, now: float) -> list[K6Pod]:
        """Return the pods whose k6 may still run or may run later."""
        return [pod for uid, pod in self.pods.items() if not pod.ended and now < self._gone.get(uid, float("inf"))]

    def verdict(self, now: float) -> TargetVerdict:
        """Return the current verdict."""
        alive = self.alive(now)
        if not self._is_over(alive, now):
            self._over_since = None
        elif self._over_since is None:
            self._over_since = now
        lingers = LINGER + max((_may_run_on(pod) for pod in alive), default=0.0)
        moments = [until for uid, until in self._gone.items() if not self.pods[uid].ended]
        waits = [moment for moment in (*moments, self._believes_absence_from) if moment > now]
        return TargetVerdict(
            seen=any(pod.ran for pod in self._own_pods()) or bool(self._controller and self._controller.ran),
            ended=not alive and self._no_more_to_come(now),
            overdue=None if self._over_since is None else self._over_since + lingers,
            changes=min(waits, default=float("inf")),
        )

    def outcome(self, now: float, *, seen: bool, ended: bool) -> K6Outcome:
        """Return the outcome of k6, as far as it is known."""
        pods = self._own_pods()
        passed = self._controller.passed(pods) if self._controller else None
        # A Job that passed may have failed attempts before.
        ended_pods = [pod for pod in pods if pod.ended and not (passed and pod.exit_code != 0)]
        # A pod that the Job deleted ended because of another pod: its code counts last.
        bad = sorted((pod for pod in ended_pods if pod.exit_code), key=lambda pod: pod.deleted_by is not None)
        codes = {pod.exit_code for pod in ended_pods}
        unknown = None in codes or not codes or any(not pod.ended for pod in pods)
        reasons = [pod.reason for pod in (bad or ended_pods) if pod.reason]
        times = [pod.ended_at for pod in ended_pods if pod.ended_at]
        return K6Outcome(
            seen=seen,
            ended=ended,
            detector="kubernetes",
            exit_code=bad[0].exit_code if bad else (None if unknown and not passed else 0),
            ended_at=max(times, default=datetime.now(UTC)) if ended else None,
            api_reason=next(iter(reasons), None) or (self._controller.reason if self._controller else None),
            controller_passed=passed,
            why=self.waits_for(now),
        )

    def waits_for(self, now: float) -> str:
        """Return in words what the watch waits for, or what is known if it waits for nothing."""
        alive = self.alive(now)
        pods = alive or ([] if self._controller and self._controller.reason else list(self.pods.values()))
        parts = [f"pod {pod.name}: {self._state(pod)}" for pod in sorted(pods, key=lambda pod: pod.name)[:3]]
        more = [f"and {len(pods) - 3} other pods"] if len(pods) > 3 else []  # noqa: PLR2004  # the pods that are listed
        if not alive and self._controller and self._controller.reason:
            parts.append(self._controller.reason)
        elif not alive and self.pods and not self._no_more_to_come(now):
            parts.append(f"{self._target} may start more pods")
        return ", ".join([*parts, *more]) or f"{self._target} has no pods in namespace {self._namespace}"

    def _state(self, pod: K6Pod) -> str:
        if pod.ended:
            return pod.reason or "ended"
        return "deleted, but its grace period has not ended" if pod.uid in self._gone else (pod.reason or "running")

    def _is_over(self, alive: list[K6Pod], now: float) -> bool:
        """Whether the Job or TestRun is over, or was deleted and its pods are being deleted as well."""
        if self._absent:
            return self._is_deleted(now) and all(pod.deleted_by or pod.uid in self._gone for pod in alive)
        return self._controller is not None and self._controller.over

    def _no_more_to_come(self, now: float) -> bool:
        if self._target.controller is None:
            return bool(self.pods)
        if self._absent:
            return self._is_deleted(now)
        return self._controller is not None and not self._controller.expects_more(self._own_pods())

    def _is_deleted(self, now: float) -> bool:
        """Whether the absent Job or TestRun existed before: k6-sweep saw it run, or saw the pods that it left."""
        if self._controller is not None:
            return bool(self._own_pods()) or self._controller.ran
        return bool(self.pods) and now >= self._believes_absence_from

    def _own_pods(self) -> list[K6Pod]:
        """Return the pods of the current Job, not those of an earlier Job of the same name; else all pods."""
        if self._target.kind not in {"job", "job-selector"} or self._controller is None:
            return list(self.pods.values())
        return [pod for pod in self.pods.values() if (pod.owner or "") == self._controller.uid]


def _may_run_on(pod: K6Pod) -> float:
    # A forced deletion (grace period 0) removes the pod from the API before the kubelet has ended its containers.
    # Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination-forced
    return max(pod.grace_period, pod.own_grace_period)
