"""The watcher sees the end of k6, and not too early, with any trouble on the way to the API server."""

import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from k6_sweep.demo.servers import Node
from tests.acceptance.pod import Sidecar
from tests.kubernetes.apiserver import KubeApi
from tests.kubernetes.conftest import namespace_of
from tests.kubernetes.proxy import Proxy
from tests.kubernetes.rig import READ_PODS, RUNNING, Namespace, Watchers, pod, terminated
from tests.support import until

FROZEN_SECONDS = 60
EVENTS = 10_000
PATIENCE = 60


def start(
    namespace: Namespace, folder: Path, redis_url: str, port: int, bound_to: str | None = None
) -> tuple[Sidecar, Watchers, Path]:
    """Start the watcher of a pod with a running k6; its token is bound to a pod if one is named."""
    namespace.create(pod("load-test"))
    namespace.k6_is("load-test", RUNNING)
    account = namespace.account(READ_PODS, bound_to=bound_to)
    watchers = Watchers(namespace, folder, redis_url, port)
    watcher = watchers.start(account, "--detector", "kubernetes", pod_name="load-test")
    until(lambda: watcher.says("k6 is running"))
    return watcher, watchers, account


@pytest.fixture
def proxy(shared_api: KubeApi) -> Iterator[Proxy]:
    with Proxy(shared_api.port) as proxy:
        yield proxy


@pytest.fixture
def watcher(namespace: Namespace, folder: Path, redis_url: str, proxy: Proxy) -> Iterator[Sidecar]:
    watcher, watchers, _ = start(namespace, folder, redis_url, proxy.port)
    try:
        yield watcher
    finally:
        watchers.stop()


def assert_swept(watcher: Sidecar, redis: Node) -> None:
    report = watcher.report(PATIENCE)
    assert (report["status"], report["deleted"], report["k6"]["exit_code"]) == ("complete", 1, 99)
    assert redis.ask("KEYS", "*") == [b"user:1"]


def test_a_black_holed_connection(namespace: Namespace, watcher: Sidecar, proxy: Proxy, redis_node: Node) -> None:
    """If a watch stays silent, the watcher opens a new connection and sees the end there."""
    proxy.black_hole()
    namespace.k6_is("load-test", terminated(99))
    assert_swept(watcher, redis_node)


def test_a_network_that_is_gone_for_a_while(
    namespace: Namespace, watcher: Sidecar, proxy: Proxy, redis_node: Node
) -> None:
    """Without a network the watcher waits and reports it, and sees the end once the network is back."""
    proxy.silences_all = True
    namespace.k6_is("load-test", terminated(99))
    until(lambda: watcher.says("no news from the Kubernetes API"), PATIENCE)
    assert watcher.still_waits()
    assert "no news from the Kubernetes API" in watcher.message_file.read_text()
    proxy.silences_all = False
    assert_swept(watcher, redis_node)


def test_connections_that_are_reset(namespace: Namespace, watcher: Sidecar, proxy: Proxy, redis_node: Node) -> None:
    """The watcher opens a new connection after each reset."""
    for _ in range(5):
        known = proxy.connections
        proxy.reset()
        until(lambda known=known: proxy.connections > known, PATIENCE)  # type: ignore[misc]  # the default binds the value
    assert watcher.still_waits()
    namespace.k6_is("load-test", terminated(99))
    assert_swept(watcher, redis_node)


@pytest.fixture
def own_namespace(own_api: KubeApi, tmp_path: Path) -> Namespace:
    return namespace_of(own_api, tmp_path)


def test_an_api_server_that_is_restarted(
    own_namespace: Namespace, folder: Path, redis_url: str, redis_node: Node
) -> None:
    """After an API server's restart a new list brings the news of that time."""
    watcher, watchers, _ = start(own_namespace, folder, redis_url, own_namespace.api.port)
    own_namespace.api.restart(pause=3)
    assert watcher.still_waits()
    own_namespace.k6_is("load-test", terminated(99))
    assert_swept(watcher, redis_node)
    watchers.stop()


@pytest.mark.timeout(240)
def test_an_api_server_that_is_frozen(own_namespace: Namespace, folder: Path, redis_url: str, redis_node: Node) -> None:
    """The watcher waits through a minute of silence, and sees the end afterwards."""
    watcher, watchers, _ = start(own_namespace, folder, redis_url, own_namespace.api.port)
    own_namespace.api.process.send_signal(signal.SIGSTOP)
    assert watcher.still_waits(FROZEN_SECONDS)
    own_namespace.api.process.send_signal(signal.SIGCONT)
    until(own_namespace.api.ready, PATIENCE)
    own_namespace.k6_is("load-test", terminated(99))
    assert_swept(watcher, redis_node)
    watchers.stop()


def test_a_token_that_is_rotated(own_namespace: Namespace, folder: Path, redis_url: str, redis_node: Node) -> None:
    """After a 401, the watcher reads the token file again, so it goes on as soon as the file has a new token."""
    own_namespace.create(pod("keeps-the-token", serviceAccountName="account-0"))
    watcher, watchers, account = start(
        own_namespace, folder, redis_url, own_namespace.api.port, bound_to="keeps-the-token"
    )
    own_namespace.delete("Pod", "keeps-the-token")  # this ends the token
    until(lambda: watcher.says("no news from the Kubernetes API"), PATIENCE)
    until(lambda: "401" in watcher.message_file.read_text(), PATIENCE)
    assert watcher.still_waits()
    own_namespace.new_token(account)
    until(lambda: watcher.says("news from the Kubernetes API again"), PATIENCE)
    own_namespace.k6_is("load-test", terminated(99))
    assert_swept(watcher, redis_node)
    watchers.stop()


def test_a_permission_that_is_taken_away(namespace: Namespace, watcher: Sidecar, redis_node: Node) -> None:
    """A permission that is lost during the test is reported, and the watcher waits until it is back."""
    binding = namespace.path("RoleBinding", "account-0-account-0").replace(
        "/api/v1", "/apis/rbac.authorization.k8s.io/v1"
    )
    namespace.api.ask("DELETE", binding)
    until(lambda: watcher.says("no news from the Kubernetes API"), PATIENCE)
    assert watcher.still_waits()
    until(lambda: "add this rule to its Role" in watcher.message_file.read_text(), PATIENCE)
    namespace.bind("account-0", "account-0")
    until(lambda: watcher.says("news from the Kubernetes API again"), PATIENCE)
    namespace.k6_is("load-test", terminated(99))
    assert_swept(watcher, redis_node)


@pytest.mark.timeout(400)
def test_ten_thousand_changes_leave_no_trace(
    namespace: Namespace, folder: Path, redis_url: str, redis_node: Node
) -> None:
    """Ten thousand changes of the pod neither grow the memory nor look like an end."""
    watcher, watchers, _ = start(namespace, folder, redis_url, namespace.api.port)
    memory = []
    for change in range(EVENTS):
        namespace.api.patch(namespace.path("Pod", "load-test"), {"metadata": {"annotations": {"change": str(change)}}})
        if change in {EVENTS // 10, EVENTS - 1}:
            memory.append(psutil.Process(watcher.process.pid).memory_info().rss)
    early, late = memory
    assert late - early < 1024**2
    assert watcher.still_waits()
    namespace.k6_is("load-test", terminated(99))
    assert_swept(watcher, redis_node)
    watchers.stop()
