"""Waits for the end of k6 with the Kubernetes API: it follows the own pod, or the pods of a target."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from k6_sweep.budget import Budget, Facts, Step
from k6_sweep.errors import SettingsError
from k6_sweep.kube.api import ApiServer
from k6_sweep.kube.controllers import is_helper, read_controller
from k6_sweep.kube.follow import Changed, Follower, Listed, Mailbox, News, NoNews
from k6_sweep.kube.pods import K6Pod, read_pod
from k6_sweep.kube.roles import PODS, Resource
from k6_sweep.lifecycle import Events, on_our_clock
from k6_sweep.log import Log, LogEvent
from k6_sweep.settings.target import Target
from k6_sweep.watch.labelled_jobs import LabelledJobs
from k6_sweep.watch.outcome import K6Outcome
from k6_sweep.watch.target_state import TargetState

SILENCE: Final = 60.0
"""Seconds without any news after which the watch reports that; the API's time limits are shorter."""
LATE_NEWS: Final = 10.0
"""Seconds that the kubelet may take to report a change to the API server: it repeats a failed report after 10 s.

Source: syncPeriod in pkg/kubelet/status/status_manager.go of Kubernetes.
"""


@dataclass
class KubernetesWatch:
    """One wait for the k6 of a target, from its start to its end."""

    _target: Target
    _k6_containers: Sequence[str]
    """The names of k6's containers: the test ends with the last of them."""
    _api: ApiServer
    _own_pod: str | None
    """The name of k6-sweep's own pod, if it is known: its grace period also applies to k6-sweep."""
    _native: bool
    """Whether k6-sweep is a native sidecar."""
    _budget: Budget
    _events: Events
    _log: Log
    _tell_trouble: Callable[[str | None], None]
    """Called with the reason when the API server sends no news, and with None when news arrives again."""

    def __post_init__(self) -> None:
        self._is_own_pod = self._target == Target("pod", self._own_pod or "")
        # If the watcher of another pod is drained, its k6 runs on: a sweep would delete keys that the test still uses.
        self._budget = replace(self._budget, late_news=LATE_NEWS, k6_dies_with_us=self._is_own_pod)
        self._troubles: dict[Resource, str] = {}
        """Why there is currently no news of a resource."""
        self._mailbox = Mailbox(self._events.wake)
        self._began = time.monotonic()
        # `kubectl replace --force` deletes a Job before it creates the new one: for a while, absence proves nothing.
        absent_from = self._began + (self._budget.start_timeout or 0.0)
        self._known = TargetState(self._target, self._api.namespace, absent_from)
        self._jobs = LabelledJobs()
        self._strangers: set[str] = set()
        """The containers of pods that lack a container of k6's name."""
        self._missed: set[str] = set()
        """The names of k6's containers that these pods lack."""
        self._earlier: set[str] | None = None
        """The uids of pods that ended before k6-sweep started: a selector also matches pods of an earlier test."""
        followed = [(PODS, self._target.pods), *([self._target.controller] if self._target.controller else [])]
        self._followers = [Follower(self._api, *each, self._mailbox) for each in followed]
        self._asked: dict[Resource, float] = {}
        """For each resource, when its latest list was requested."""
        self._told_wait = ""

    def run(self) -> tuple[K6Outcome, Budget]:
        """Wait until k6 appears and all of its pods end; return the outcome, and the budget at that time.

        Raises:
            SettingsError: A permission is missing, or the target has no container of k6's name.
        """
        with self._mailbox:
            for follower in self._followers:
                follower.start()
            return self._wait(), self._budget

    def _wait(self) -> K6Outcome:
        facts = Facts(began=self._began)
        thought: float | None = None
        while True:
            for news in self._mailbox.take():
                self._take_in(news)
            now = time.monotonic()
            verdict = self._known.verdict(now)
            if not verdict.ended:
                thought = None
            elif thought is None:
                thought = now
                # The regular list may be WATCH_SECONDS away.
                if not self._target.is_one_pod:
                    self._look()
            if verdict.seen and facts.seen is None:
                self._log.info(LogEvent.K6_RUNNING, target=str(self._target))
                facts = replace(facts, seen=now)
            self._notice_silence(now)
            self._tell_wait(now)
            facts = replace(
                facts,
                ended=(thought is not None and self._is_confirmed(thought)) or self._is_ended_by_our_end(facts),
                first_signal=self._events.first_signal,
                urgent=self._events.urgent,
                overdue=verdict.overdue,
            )
            if facts.ended and facts.seen is None:
                return self._known.outcome(now, seen=False, ended=True)
            step, until = self._budget.decide(facts, now)
            if step is not Step.WAIT:
                return replace(self._outcome(facts, now), broken_off=step is Step.STOP)
            self._events.wait([], min(until, verdict.changes, now + SILENCE) - now)

    def _look(self) -> None:
        for follower in self._followers:
            follower.look()

    def _notice_silence(self, now: float) -> None:
        """Report a follower that brings neither lists nor trouble: requests have time limits, but a login has none."""
        for resource in (follower.resource for follower in self._followers):
            if resource not in self._troubles and now - self._asked.get(resource, self._began) > SILENCE:
                why = f"no list of {resource.plural} for {SILENCE:g} s; the login may wait for an input"
                self._take_in_trouble(NoNews(resource, why, lasting=False))

    def _is_confirmed(self, thought: float) -> bool:
        """Whether lists that were requested after the time `thought` have arrived and still show the end.

        Earlier news may be incomplete. For one pod no list is needed, because there are no other pods.
        """
        return self._target.is_one_pod or all(
            self._asked.get(follower.resource, 0.0) >= thought for follower in self._followers
        )

    def _is_ended_by_our_end(self, facts: Facts) -> bool:
        """Whether SIGTERM means that k6 has ended: k6-sweep is a native sidecar, and its pod is being deleted.

        The kubelet then stops k6-sweep after k6 has ended, and reports k6's end only after k6-sweep has ended.

        Source: https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/ (termination), and
        kubernetes/kubernetes#106896.
        """
        if not (self._native and self._is_own_pod and facts.seen is not None) or self._events.first_signal is None:
            return False
        return any(pod.deleted_by for pod in self._known.pods.values())

    def _tell_wait(self, now: float) -> None:
        """Log what the watch is waiting for, if that has changed."""
        waits_for = self._known.waits_for(now)
        if self._known.pods and waits_for != self._told_wait:
            self._told_wait = waits_for
            ended = sum(pod.ended for pod in self._known.pods.values())
            self._log.info(LogEvent.PODS_CHANGED, ended=ended, known=len(self._known.pods), waits_for=waits_for)

    def _outcome(self, facts: Facts, now: float) -> K6Outcome:
        outcome = self._known.outcome(now, seen=facts.seen is not None, ended=facts.ended)
        if outcome.ended:
            self._log.info(LogEvent.K6_ENDED, exit_code=outcome.exit_code, reason=outcome.reason)
            return outcome
        if facts.seen is not None:
            self._log.warning(LogEvent.WAIT_OVER, why=outcome.why)
        earlier = f"{len(self._earlier)} pods had ended before k6-sweep started" if self._earlier else None
        trouble = next(iter(self._troubles.values()), None)
        return replace(outcome, why=trouble or self._lacking() or earlier or outcome.why)

    def _take_in(self, news: News) -> None:
        if isinstance(news, NoNews):
            self._take_in_trouble(news)
            return
        if self._troubles.pop(news.resource, None):
            if not self._troubles:
                self._log.info(LogEvent.API_RECOVERED)
            self._tell_trouble(next(iter(self._troubles.values()), None))
        if isinstance(news, Listed):
            self._asked[news.resource] = max(self._asked.get(news.resource, 0.0), news.asked)
        if news.resource == PODS:
            self._take_in_pods(news)
            return
        if self._target.kind == "job-selector":
            current = self._jobs.current(news)
        else:
            objects = news.objects if isinstance(news, Listed) else () if news.deleted else (news.object,)
            current = objects[0] if objects else None
        self._known.controller_is(read_controller(self._target.kind, current) if current is not None else None)

    def _take_in_pods(self, news: Listed | Changed) -> None:
        now = time.monotonic()
        if isinstance(news, Listed):
            pods = self._k6_pods(news.objects)
            # The own pod exists while k6-sweep runs in it, so its name is wrong, and no wait can correct that.
            if not news.objects and self._is_own_pod and not self._known.pods:
                raise SettingsError([f"own pod {self._own_pod} not found; check POD_NAME and POD_NAMESPACE"])
            if self._earlier is None:
                self._earlier = {pod.uid for pod in pods if pod.ended} if self._target.has_labels else set()
            self._known.pods_are([pod for pod in pods if pod.uid not in self._earlier], now)
            return
        for pod in self._k6_pods([news.object]):
            if pod.uid in (self._earlier or ()):
                continue
            if news.deleted:
                self._known.pod_is_gone(pod, now)
            else:
                self._known.pod_is(pod)

    def _take_in_trouble(self, news: NoNews) -> None:
        if news.lasting:
            raise SettingsError([news.why])
        if not self._troubles:
            self._log.warning(LogEvent.API_SILENT, problem=news.why)
            self._tell_trouble(news.why)
        else:
            self._log.debug(LogEvent.API_SILENT, problem=news.why)
        self._troubles[news.resource] = news.why

    def _k6_pods(self, objects: Sequence[Any]) -> list[K6Pod]:
        """Read the pods; leave out those without a k6 container.

        Raises:
            SettingsError: A pod that must have a k6 container has none.
        """
        found = []
        for raw in objects:
            pod = read_pod(raw, self._k6_containers)
            if is_helper(raw):
                continue
            # `kubectl delete --grace-period` may change the grace period at any time.
            if pod.name == self._own_pod:
                self._budget = replace(
                    self._budget, grace_period=pod.grace_period, killed_at=on_our_clock(pod.deleted_by)
                )
            if pod.has_k6:
                found.append(pod)
            if not pod.lacks:
                continue
            if not pod.has_k6 or self._target.kind != "selector":
                self._strangers.update(pod.containers)
                self._missed.update(pod.lacks)
            # Labels may match pods of other programs as well; the pods of any other target must run every k6.
            if self._target.kind != "selector":
                raise SettingsError([f"pod {pod.name} of {self._target}: {self._lacking()}"])
        return found

    def _lacking(self) -> str | None:
        if not self._strangers:
            return None
        missed, there = " or ".join(map(repr, sorted(self._missed))), ", ".join(sorted(self._strangers))
        return f"no container is named {missed}; there are {there}; set --k6-container to the name of k6's container"
