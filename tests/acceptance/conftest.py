"""Fixtures: a Redis with a key to sweep, a folder with k6 scripts, and a pod."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from k6_sweep.demo.servers import Node
from tests.acceptance.pod import IN_POD, Pod, Sidecar, start_sidecar, why_no_namespaces
from tests.acceptance.scripts import k6_scripts
from tests.support import running_redis


@pytest.fixture(scope="session")
def _redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running_redis(tmp_path_factory.mktemp("redis")) as node:
        yield node


@pytest.fixture
def redis_node(_redis: Node) -> Node:
    """A Redis with one key of the test and one key of a user."""
    _redis.ask("FLUSHALL")
    _redis.ask("MSET", "test:1", "x", "user:1", "x")
    return _redis


@pytest.fixture
def redis_url(redis_node: Node) -> str:
    return f"redis://127.0.0.1:{redis_node.port}"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user of the pod can reach, with the k6 scripts.

    It is not pytest's: pytest closes the folders of a user to all others each time it starts, also for another run.
    """
    with tempfile.TemporaryDirectory(prefix="k6-sweep-") as name:
        path = Path(name)
        path.chmod(0o755)
        with k6_scripts(path):
            yield path


@pytest.fixture
def pod(folder: Path) -> Iterator[Pod]:
    if reason := why_no_namespaces():
        pytest.skip(reason)
    with Pod(folder) as started:
        yield started


@pytest.fixture
def sidecar_in(pod: Pod, folder: Path, redis_url: str) -> Callable[..., Sidecar]:
    """Start a sidecar as a container of the pod."""

    def start(*options: str, **more: object) -> Sidecar:
        launch = pod.sidecar_container
        return start_sidecar(folder, redis_url, *options, launch=launch, env=IN_POD, **more)  # type: ignore[arg-type]  # passed on

    return start
