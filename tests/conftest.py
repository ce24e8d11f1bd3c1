"""Real servers for the tests that are about servers."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest

from k6_sweep.demo.servers import LocalCluster, Node, find_redis_server, local_cluster
from tests.support import running_redis

hypothesis.settings.register_profile("untimed", deadline=None)  # no test asserts how long something takes
hypothesis.settings.load_profile("untimed")

SERVERS = "K6_SWEEP_TEST_SERVERS"
"""The variable that lists the server binaries to test against, separated by colons; unset: the one that is found."""

MAY_LACK = "K6_SWEEP_MAY_LACK"
"""The variable that says, in the words of a skip reason, what the machine may lack in CI."""


def server_binaries() -> list[str]:
    """Return the servers to test against."""
    return [path for path in os.environ.get(SERVERS, "").split(":") if path] or [find_redis_server()]


def _name(binary: str) -> str:
    return "-".join(Path(binary).parts[-3:]).strip("-/")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI nothing may be skipped: a machine that lacks something there is a failure, unless MAY_LACK names it."""
    report = yield
    forbidden = bool(os.environ.get("CI")) and not hasattr(report, "wasxfail")
    may_lack = os.environ.get(MAY_LACK)
    if report.skipped and forbidden and not (may_lack and may_lack in str(report.longrepr)):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longrepr}"
    return report


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "server_binary" in metafunc.fixturenames:
        metafunc.parametrize("server_binary", server_binaries(), ids=_name, scope="session")


@pytest.fixture(scope="session")
def shared_cluster(server_binary: str) -> Iterator[LocalCluster]:
    with local_cluster(server_binary, primaries=3, replicas=3) as cluster:
        yield cluster


@pytest.fixture
def cluster(shared_cluster: LocalCluster) -> LocalCluster:
    """Three primaries with a replica each, empty; a test that changes who owns what starts its own."""
    for node in shared_cluster.primaries:
        node.ask("FLUSHALL")
        node.ask("ACL", "SETUSER", "default", "reset", "on", "nopass", "~*", "&*", "+@all")
    return shared_cluster


@pytest.fixture
def small_cluster(server_binary: str) -> Iterator[LocalCluster]:
    """Three primaries that a test may take apart."""
    options = {"cluster-require-full-coverage": "no", "cluster-node-timeout": "2000"}
    with local_cluster(server_binary, primaries=3, options=options) as cluster:
        yield cluster


@pytest.fixture
def standalone(server_binary: str, tmp_path: Path) -> Iterator[Node]:
    with running_redis(tmp_path, server_binary) as node:
        yield node
