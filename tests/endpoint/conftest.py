"""A Redis with keys of a test and of a user, and an endpoint in front of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from k6_sweep.demo.servers import Node
from tests.endpoint.served import Served, served
from tests.support import running_redis


@pytest.fixture(scope="session")
def redis_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running_redis(tmp_path_factory.mktemp("redis")) as node:
        yield node


@pytest.fixture
def redis(redis_node: Node) -> Node:
    """A Redis with a hundred keys of the test and one of a user."""
    redis_node.ask("FLUSHALL")
    redis_node.ask("ACL", "SETUSER", "default", "reset", "on", "nopass", "~*", "&*", "+@all")
    redis_node.ask("MSET", "user:1", "x", *(word for number in range(100) for word in (f"test:{number}", "x")))
    return redis_node


@pytest.fixture
def url(redis: Node) -> str:
    return f"redis://127.0.0.1:{redis.port}"


@pytest.fixture(scope="session")
def _running(redis_node: Node) -> Iterator[Served]:
    with served(f"redis://127.0.0.1:{redis_node.port}") as running:
        yield running


@pytest.fixture
def endpoint(_running: Served, redis: Node) -> Served:
    """One endpoint for all tests that only check answers, because each start takes a second of CPU."""
    assert redis
    return _running


@pytest.fixture
def new_endpoint(url: str) -> Iterator[Served]:
    """An endpoint without any counts or log lines so far."""
    with served(url) as running:
        yield running


@pytest.fixture
def slow_endpoint(url: str) -> Iterator[Served]:
    """An endpoint whose sweeps take some seconds, because they wait for late writers."""
    with served(url, "--settle", "3") as running:
        yield running


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("first-token\n")
    return path
