"""A watch that gets no news of any kind reports that."""

import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from k6_sweep.budget import Budget
from k6_sweep.kube.api import ApiServer
from k6_sweep.kube.login import ByKubeconfig
from k6_sweep.kube.roles import Resource
from k6_sweep.lifecycle import Events
from k6_sweep.settings.target import Target
from k6_sweep.watch import kubernetes
from tests.support import quiet_log


class AsksAPerson(ApiServer):
    """An API server whose login waits until the test lets it go on."""

    def __init__(self) -> None:
        super().__init__(ByKubeconfig(), "load-test")
        self.answered = threading.Event()

    def list(self, resource: Resource, selector: Mapping[str, str]) -> tuple[list[Any], str]:
        assert resource
        assert selector
        assert self.answered.wait(60)
        return [], "1"

    def watch(self, resource: Resource, selector: Mapping[str, str], version: str) -> Iterator[tuple[str, Any]]:
        assert [resource, selector, version].count(version) == 1
        return iter(())


def test_a_login_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the login waits for a person, the watch reports it, and takes it back when there is news again."""
    monkeypatch.setattr(kubernetes, "SILENCE", 0.2)
    api, told = AsksAPerson(), []

    def tell(why: str | None) -> None:
        told.append(why)
        api.answered.set()

    with Events() as events:
        budget = Budget(timeout=60, start_timeout=2)
        target = Target.parse("selector:app=load")
        watch = kubernetes.KubernetesWatch(target, ("k6",), api, None, False, budget, events, quiet_log(), tell)
        outcome, _ = watch.run()
    assert told[0] == "no list of pods for 0.2 s; the login may wait for an input"
    assert told[1] is None
    assert not outcome.ended
