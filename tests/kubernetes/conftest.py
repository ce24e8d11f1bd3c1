"""An API server, one namespace for each test, and sidecars in it."""

import contextlib
import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.acceptance.conftest import _redis, folder, pod, redis_node, redis_url
from tests.kubernetes.apiserver import BINARY, KubeApi, why_no_apiserver
from tests.kubernetes.rig import Namespace, Watchers
from tests.support import until

__all__ = ["_redis", "folder", "pod", "redis_node", "redis_url"]

CRD_FILE = "K6_SWEEP_TESTRUN_CRD"
"""The variable that names the file of k6-operator's TestRun resource definition."""
_NUMBERS = itertools.count()


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what kubectl and Helm remember of each API server out of the home directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECACHEDIR", str(tmp_path_factory.mktemp("cache")))
        yield


@contextlib.contextmanager
def running_api() -> Iterator[KubeApi]:
    with tempfile.TemporaryDirectory(prefix="k6-sweep-", dir="/dev/shm") as place:
        api = KubeApi.start(Path(place))
        try:
            yield api
        finally:
            api.stop()


@pytest.fixture(scope="session")
def shared_api() -> Iterator[KubeApi]:
    if reason := why_no_apiserver():
        pytest.skip(reason)
    with running_api() as api:
        yield api


@pytest.fixture
def own_api() -> Iterator[KubeApi]:
    """An API server that a test may stop."""
    if reason := why_no_apiserver():
        pytest.skip(reason)
    with running_api() as api:
        yield api


def namespace_of(api: KubeApi, folder: Path) -> Namespace:
    name = f"test-{next(_NUMBERS)}"
    api.ask("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return Namespace(api, name, folder)


@pytest.fixture
def namespace(shared_api: KubeApi, tmp_path: Path) -> Namespace:
    return namespace_of(shared_api, tmp_path)


@pytest.fixture(scope="session")
def restricted(shared_api: KubeApi) -> KubeApi:
    """The namespace of the examples and the chart, where Pod Security enforces `restricted`; and a priority class."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "load-test", "labels": labels}}
    shared_api.ask("POST", "/api/v1/namespaces", namespace)
    priority = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "low"}, "value": 1}
    shared_api.ask("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", priority)
    return shared_api


@pytest.fixture(scope="session")
def test_runs(shared_api: KubeApi) -> None:
    """k6-operator's TestRun, by its own definition."""
    file = os.environ.get(CRD_FILE)
    if not file:
        pytest.skip(f"needs k6-operator's definition of TestRun: set {CRD_FILE} to its file")
    define(shared_api, Path(file))


@pytest.fixture(scope="session")
def monitoring_kinds(shared_api: KubeApi) -> None:
    """The kinds of prometheus-operator and the Gateway API's HTTPRoute, by their own definitions."""
    kinds = ("monitoring.coreos.com_servicemonitors", "monitoring.coreos.com_prometheusrules")
    for kind in (*kinds, "gateway.networking.k8s.io_httproutes"):
        file = BINARY.parent / f"{kind}.yaml"
        if not file.exists():
            pytest.skip("needs the definitions of prometheus-operator and of the Gateway API: make tools")
        define(shared_api, file)


def define(api: KubeApi, file: Path) -> None:
    """Define a kind of resource, and wait until the API server knows it."""
    definition = YAML(typ="safe").load(file)
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    api.ask("POST", path, definition)
    name = definition["metadata"]["name"]

    def established() -> bool:
        conditions = api.ask("GET", f"{path}/{name}").get("status", {}).get("conditions") or []
        return "True" in [each["status"] for each in conditions if each["type"] == "Established"]

    until(established)


@pytest.fixture
def watchers(namespace: Namespace, folder: Path, redis_url: str) -> Iterator[Watchers]:
    started = Watchers(namespace, folder, redis_url, namespace.api.port)
    try:
        yield started
    finally:
        started.stop()
