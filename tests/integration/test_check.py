"""`k6-sweep check` on real clusters that are not healthy."""

import re

import pytest

from k6_sweep.cluster.connector import Connector
from k6_sweep.demo.servers import CLUSTER_OPTIONS, LocalCluster, start_server, stop
from k6_sweep.errors import UnreachableError
from k6_sweep.sweep.preflight import Readiness, preflight
from tests.support import settings_for, until

pytestmark = pytest.mark.every_server


def check(cluster: LocalCluster) -> Readiness:
    settings = settings_for(cluster.url)
    return preflight(settings, Connector(settings), look=True)


def test_it_asks_each_primary(small_cluster: LocalCluster, server_binary: str) -> None:
    """A new primary without slots is asked, too: while it does not answer, the check fails."""
    assert check(small_cluster).warnings[1:] == ()  # the first one: no key matches yet
    new = start_server(server_binary, small_cluster.folder, CLUSTER_OPTIONS)
    try:
        new.ask("CLUSTER", "MEET", "127.0.0.1", small_cluster.primaries[0].port)
        nodes = (*small_cluster.nodes, new)
        until(lambda: all(node.ask("CLUSTER", "NODES").count(b" connected") == 4 for node in nodes))
        assert check(small_cluster).warnings[1:] == ()
    finally:
        stop([new])
    with pytest.raises(UnreachableError, match=re.escape(f"cannot reach {new.address}")):
        check(small_cluster)


def test_it_fails_while_a_primary_is_gone(small_cluster: LocalCluster) -> None:
    """A primary that was killed is named."""
    gone = small_cluster.primaries[2]
    stop([gone])
    with pytest.raises(UnreachableError, match=re.escape(f"cannot reach {gone.address}")):
        check(small_cluster)


def test_it_fails_while_the_cluster_is_down(small_cluster: LocalCluster) -> None:
    """If slots have no owner and the cluster requires all slots, the check gives the server's reason."""
    for node in small_cluster.primaries:
        node.ask("CONFIG", "SET", "cluster-require-full-coverage", "yes")
        node.ask("CLUSTER", "DELSLOTS", 17)
    until(lambda: b"cluster_state:fail" in small_cluster.nodes[0].ask("CLUSTER", "INFO"))
    with pytest.raises(UnreachableError, match=r"1 of the cluster's slots have no primary.*CLUSTERDOWN"):
        check(small_cluster)
    for node in small_cluster.primaries:
        node.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
