"""Real servers for the tests of the sweep's work with servers."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import coverage
import hypothesis
import pytest

from k6_sweep.demo.servers import LocalCluster, Node, find_redis_server, local_cluster
from tests.clusters import Lent
from tests.support import running_redis

hypothesis.settings.register_profile("untimed", deadline=None)  # no test asserts a duration
hypothesis.settings.load_profile("untimed")

SERVERS = "K6_SWEEP_TEST_SERVERS"
"""The variable with the server binaries to test, separated by colons; unset: the binary that is found.

A test that needs a server runs on the first of them. A test of the servers' answers, or of their work with slots and
permissions, is marked `every_server`, and runs on each.
"""

MORE_SERVERS = "K6_SWEEP_MORE_TEST_SERVERS"
"""The variable with more of them, between the oldest and the newest: only for tests that are marked `every_version`."""

MAY_LACK = "K6_SWEEP_MAY_LACK"
"""The variable with the part of a skip reason that CI accepts."""


def server_binaries() -> list[str]:
    """Return the server binaries to test."""
    return [path for path in os.environ.get(SERVERS, "").split(":") if path] or [find_redis_server()]


def all_server_binaries() -> list[str]:
    """Return the server binaries to test, and those of MORE_SERVERS."""
    return [*server_binaries(), *(path for path in os.environ.get(MORE_SERVERS, "").split(":") if path)]


def _name(binary: str) -> str:
    return "-".join(Path(binary).parts[-3:]).strip("-/")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skipped test into a failure in CI, unless MAY_LACK accepts its reason."""
    report = yield
    forbidden = bool(os.environ.get("CI")) and not hasattr(report, "wasxfail")
    may_lack = os.environ.get(MAY_LACK)
    if report.skipped and forbidden and not (may_lack and may_lack in str(report.longrepr)):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longrepr}"
    return report


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"every_server: runs on each server of {SERVERS}")
    config.addinivalue_line("markers", f"every_version: runs on those of {MORE_SERVERS}, too")
    config.addinivalue_line("markers", "alone: disturbs other tests on the same Kubernetes node")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "server_binary" in metafunc.fixturenames:
        marked = metafunc.definition.get_closest_marker
        binaries = server_binaries() if marked("every_server") else server_binaries()[:1]
        if marked("every_version"):
            binaries = all_server_binaries()
        metafunc.parametrize("server_binary", binaries, ids=_name, scope="session")


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run the test, and the processes that it starts, without coverage: other tests measure the same lines.

    With coverage a sweep's process needs four times the CPU.
    """
    for variable in ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START"):
        monkeypatch.delenv(variable, raising=False)
    measuring = coverage.Coverage.current()
    if measuring:
        measuring.stop()
    yield
    if measuring:
        measuring.start()


@pytest.fixture(autouse=True)
def _measured_on_the_first_server(request: pytest.FixtureRequest) -> None:
    if "server_binary" in request.fixturenames and request.getfixturevalue("server_binary") != server_binaries()[0]:
        request.getfixturevalue("unmeasured")


@pytest.fixture(scope="session")
def shared_cluster(server_binary: str) -> Iterator[LocalCluster]:
    with local_cluster(server_binary, primaries=3, replicas=3) as cluster:
        yield cluster


@pytest.fixture
def cluster(shared_cluster: LocalCluster) -> LocalCluster:
    """Three empty primaries with one replica each; a test that changes slots' owners uses another cluster."""
    for node in shared_cluster.primaries:
        node.ask("FLUSHALL")
        node.ask("ACL", "SETUSER", "default", "reset", "on", "nopass", "~*", "&*", "+@all")
    return shared_cluster


@pytest.fixture(scope="session")
def lent_cluster(server_binary: str) -> Iterator[Lent]:
    lent = Lent(server_binary)
    yield lent
    lent.end()


@pytest.fixture
def small_cluster(lent_cluster: Lent) -> LocalCluster:
    """Three primaries that a test may break; the next test gets them repaired."""
    return lent_cluster.mended()


@pytest.fixture
def standalone(server_binary: str, tmp_path: Path) -> Iterator[Node]:
    with running_redis(tmp_path, server_binary) as node:
        yield node
