"""Waits for the end of k6 by what the Kubernetes API says of its pods: the own one, or those of a target."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from sidecar.budget import Budget, Facts, Step
from sidecar.errors import SettingsError
from sidecar.kube.account import Account
from sidecar.kube.follow import Changed, Follower, Listed, Mailbox, News, Trouble
from sidecar.kube.roles import PODS, Resource
from sidecar.lifecycle import Events
from sidecar.log import Log
from sidecar.target import Target
from sidecar.watch.controllers import is_helper, read_controller
from sidecar.watch.known import Known
from sidecar.watch.outcome import K6Outcome
from sidecar.watch.pods import K6Pod, read_pod

LATE_NEWS: Final = 10.0
"""Seconds that the kubelet may take to tell the API server of what has happened."""


class KubernetesWatch:
    """One wait for the k6 of a target, from its appearance to its end."""

    def __init__(
        self,
        target: Target,
        k6_container: str,
        account: Account,
        namespace: str,
        own_pod: str | None,
        budget: Budget,
        events: Events,
        log: Log,
        tell_trouble: Callable[[str | None], None],
    ) -> None:
        """Prepare it.

        Args:
            target: Whose end to wait for.
            k6_container: The name of k6's container.
            account: Who we are to the API server.
            namespace: Where the target is.
            own_pod: The name of our own pod, where it is known: its grace period is ours.
            budget: How long things may take.
            events: Signals.
            log: Where news is told.
            tell_trouble: Called with what keeps news away, and with None once it comes again.
        """
        self.budget = replace(budget, late_news=LATE_NEWS)
        self._tell_trouble = tell_trouble
        self._troubles: dict[Resource, str] = {}
        """Why there is no news of a resource at the moment."""
        self._target = target
        self._k6_container = k6_container
        self._own_pod = own_pod
        self._events = events
        self._log = log
        self._mailbox = Mailbox()
        self._known = Known(target)
        self._strangers: set[str] = set()
        """Containers of pods that have none of k6's name."""
        self._pods = Follower(account, namespace, PODS, target.pods, self._mailbox)
        self._followers = [self._pods]
        if target.controller:
            self._followers.append(Follower(account, namespace, *target.controller, self._mailbox))
        self._last_look = 0.0
        """When the pods were asked for that were listed last."""

    def run(self) -> K6Outcome:
        """Wait for k6 to appear and then for all of it to end.

        Raises:
            SettingsError: A permission is missing, or the target has no container of k6's name.
        """
        with self._mailbox:
            for follower in self._followers:
                follower.start()
            return self._wait()

    def _wait(self) -> K6Outcome:
        facts = Facts(began=time.monotonic())
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
                if not self._target.is_one_pod:
                    self._pods.look()
            # One more list, asked for after that thought, must say the same: what came may have been incomplete.
            ended = thought is not None and (self._target.is_one_pod or self._last_look >= thought)
            if verdict.seen and facts.seen is None:
                self._log.info("k6 is running", target=str(self._target))
                facts = replace(facts, seen=now)
            if ended and not verdict.seen:
                return self._known.outcome(now, seen=False, ended=True)
            facts = replace(
                facts,
                ended=ended,
                first_signal=self._events.first_signal,
                urgent=self._events.urgent,
                overdue=verdict.overdue,
            )
            step, until = self.budget.decide(facts, now)
            if step is not Step.WAIT:
                return self._outcome(facts, now)
            self._events.wait([self._mailbox.fileno()], min(until, verdict.changes) - now)

    def _outcome(self, facts: Facts, now: float) -> K6Outcome:
        outcome = self._known.outcome(now, seen=facts.seen is not None, ended=facts.ended)
        if outcome.ended:
            self._log.info("k6 has ended", exit_code=outcome.exit_code, reason=outcome.reason)
            return outcome
        if facts.seen is not None:
            self._log.warning("k6 has not ended, but the time to wait for it is over", why=outcome.why)
        return replace(outcome, why=next(iter(self._troubles.values()), None) or self._lacking() or outcome.why)

    def _take_in(self, news: News) -> None:
        now = time.monotonic()
        if isinstance(news, Trouble):
            self._take_in_trouble(news)
            return
        if self._troubles.pop(news.resource, None) and not self._troubles:
            self._log.info("the API server answers again")
            self._tell_trouble(None)
        if news.resource != PODS:
            objects = news.objects if isinstance(news, Listed) else () if news.deleted else (news.object,)
            self._known.controller_is(read_controller(self._target.kind, objects[0]) if objects else None, now)
        elif isinstance(news, Changed):
            for pod in self._k6_pods([news.object]):
                if news.deleted:
                    self._known.pod_is_gone(pod, now)
                else:
                    self._known.pod_is(pod)
        else:
            if not news.objects and self._target == Target("pod", self._own_pod or "") and not self._known.pods:
                raise SettingsError([f"there is no pod {self._own_pod} here, and we run in it; is POD_NAME right?"])
            self._known.pods_are(self._k6_pods(news.objects), now)
            self._last_look = max(self._last_look, news.asked)

    def _take_in_trouble(self, news: Trouble) -> None:
        if news.lasting:
            raise SettingsError([news.why])
        if not self._troubles:
            self._log.warning("no news from the API server; waiting on", problem=news.why)
            self._tell_trouble(f"no news from the API server: {news.why}")
        else:
            self._log.debug("still no news from the API server", problem=news.why)
        self._troubles[news.resource] = news.why

    def _k6_pods(self, objects: Sequence[Any]) -> list[K6Pod]:
        """Read the pods; leave out those that have no k6.

        Raises:
            SettingsError: One ought to have it.
        """
        found = []
        for raw in objects:
            pod = read_pod(raw, self._k6_container)
            if is_helper(raw):
                continue
            if pod.name == self._own_pod:
                self.budget = replace(self.budget, grace_period=pod.grace_period)
            if pod.has_k6:
                found.append(pod)
                continue
            self._strangers.update(pod.containers)
            if self._target.kind != "selector":
                raise SettingsError([f"pod {pod.name} of {self._target}: {self._lacking()}"])
        return found

    def _lacking(self) -> str | None:
        if not self._strangers:
            return None
        return (
            f"there is no container named {self._k6_container!r}, but {', '.join(sorted(self._strangers))}; "
            "name k6's with --k6-container"
        )
