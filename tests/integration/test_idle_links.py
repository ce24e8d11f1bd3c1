"""A server that closes idle connections (its setting `timeout`)."""

import pytest

from k6_sweep.demo.keys import write_keys
from k6_sweep.demo.servers import LocalCluster, Node
from tests.support import keys_of, settings_for, sweep_now


@pytest.mark.parametrize("seconds", [1, 5])
def test_a_link_that_the_server_closed_during_the_settle_pause_is_no_failure(
    small_cluster: LocalCluster, seconds: int
) -> None:
    """With a server timeout shorter or longer than --settle, a sweep is complete, exact and without a retry."""
    write_keys(small_cluster, [b"test:%d" % number for number in range(1000)])
    for node in small_cluster.nodes:
        node.ask("CONFIG", "SET", "timeout", seconds)
    try:
        report = sweep_now(settings_for(small_cluster.url, "--settle", "3"))
    finally:
        for node in small_cluster.nodes:
            node.ask("CONFIG", "SET", "timeout", 0)
    assert (report.status, report.deleted, report.exact, report.retries) == ("complete", 1000, True, 0)
    assert keys_of(small_cluster.primaries) == set()


def test_the_same_on_a_single_server(standalone: Node) -> None:
    """The link to a single server is opened again, too."""
    for number in range(100):
        standalone.ask("SET", f"test:{number}", "x")
    standalone.ask("CONFIG", "SET", "timeout", 1)
    report = sweep_now(settings_for(f"redis://127.0.0.1:{standalone.port}", "--settle", "3"))
    assert (report.status, report.deleted, report.exact, report.retries) == ("complete", 100, True, 0)
