"""The owner of each slot, read from the servers' answers."""

from typing import Any

import pytest
from redis import exceptions

from k6_sweep.cluster.topology import discover, importing, read_topology
from k6_sweep.errors import DeniedError, UnreachableError
from k6_sweep.settings.values import Address
from tests.unit.cluster.fake_redis import FakeLink


def hello(mode: bytes, role: bytes = b"master") -> list[bytes]:
    return [b"server", b"redis", b"mode", mode, b"role", role]


NODES = b"""\
two 10.0.0.9:6380@16380 myself,master - 0 0 2 connected 100-16383
five 10.0.0.5:6380@16380 slave,fail two 1 1 2 disconnected
six 10.0.0.6:6380@16380 slave,fail? two 1 1 2 disconnected
"""


def server(
    mode: bytes, slots: list[Any] | Exception, role: bytes = b"master", nodes: bytes | Exception = NODES
) -> FakeLink:
    answers: dict[bytes, Any] = {
        b"HELLO": hello(mode, role),
        b"SLOTS": slots,
        b"NODES": nodes,
        b"ROLE": [b"master", 1, [[b"h", b"1", b"1"]]],
    }
    return FakeLink(lambda command: answers[command[-1]])


ENTRIES: list[Any] = [
    [0, 99, [b"10.0.0.1", 6379, b"one", []], [b"10.0.0.4", 6379, b"four", []]],
    [100, 16383, [b"", 6380, b"two", []]],
    [200, 201, [None, 6380, b"two", []]],
]


def test_topology_of_a_cluster() -> None:
    """Slot ranges are grouped by primary; an empty host means the answering server's."""
    topology = read_topology(server(b"cluster", ENTRIES), Address("10.0.0.9", 6379))
    assert [(str(shard.address), shard.node_id, shard.replicas, len(shard.slots)) for shard in topology.shards] == [
        ("10.0.0.1:6379", "one", 1, 100),
        ("10.0.0.9:6380", "two", 1, 16286),
    ]
    assert topology.node_ids == {"one", "two", "four"}
    assert topology.uncovered() == []
    shard = topology.shard_of(7)
    assert shard is not None
    assert shard.node_id == "one"


NEW = b"""\
two 10.0.0.9:6380@16380,redis-2.example myself,master - 0 0 2 connected 100-16383
seven 10.0.0.7:6380@16380,redis-7.example,shard-id=7 master - 1 1 2 connected
eight 10.0.0.8:6380@16380, master,fail - 1 1 2 disconnected
nine 10.0.0.6:6380@16380, master,fail? - 1 1 2 connected
ten 10.0.0.5:6380@16380, slave two 1 1 2 connected
"""


def test_primaries_without_slots_are_known() -> None:
    """A primary without slots is known by the kind of address that the others have; a failed one is left out."""
    address = Address("10.0.0.9", 6379)
    by_ip = read_topology(server(b"cluster", ENTRIES, nodes=NEW), address)
    assert [str(each) for each in by_ip.idle] == ["10.0.0.7:6380", "10.0.0.6:6380"]
    named: list[Any] = [[0, 16383, [b"redis-2.example", 6380, b"two", []]]]
    by_name = read_topology(server(b"cluster", named, nodes=NEW), address)
    assert [str(each) for each in by_name.idle] == ["redis-7.example:6380", "10.0.0.6:6380"]


def test_a_node_that_announces_no_host_name_has_its_ip_address() -> None:
    """Where host names are preferred, a node without one announces `?`; its IP address is used, and never another's."""
    entries: list[Any] = [
        [0, 99, [b"?", 6379, b"one", [b"ip", b"10.0.0.1"]]],
        [100, 199, [b"?", 6379, b"two", []]],
        [200, 16383, [b"?", 6379, b"three", [b"hostname", b"", b"ip", b"10.0.0.3"]]],
    ]
    topology = read_topology(server(b"cluster", entries), Address("10.0.0.9", 6379))
    assert [str(each) for each in topology.addresses] == ["10.0.0.1:6379", "10.0.0.9:6379", "10.0.0.3:6379"]


def test_a_user_who_may_not_ask_knows_no_failed_replica() -> None:
    """CLUSTER SLOTS hides failed replicas; where CLUSTER NODES is denied, they are not known."""
    denied = exceptions.NoPermissionError("no", status_code="NOPERM")
    topology = read_topology(server(b"cluster", ENTRIES, nodes=denied), Address("10.0.0.9", 6379))
    assert [shard.replicas for shard in topology.shards] == [1, 0]


def test_slots_that_are_taken_in() -> None:
    """The importing slots come from the node's own line; migrating slots and other nodes' lines do not count."""
    nodes = b"""\
one 10.0.0.1:6379@16379 master - 0 0 1 connected 0-99 [5-<-two]
two 10.0.0.9:6380@16380 myself,master - 0 0 2 connected 100-16383 [93-<-one] [120->-one]
"""
    assert importing(server(b"cluster", ENTRIES, nodes=nodes)) == {93}
    denied = exceptions.NoPermissionError("no", status_code="NOPERM")
    assert importing(server(b"cluster", ENTRIES, nodes=denied)) == frozenset()


def test_topology_of_one_server() -> None:
    """Outside cluster mode one server owns all slots."""
    (shard,) = read_topology(server(b"standalone", []), Address("::1", 6379)).shards
    assert (str(shard.address), shard.replicas, len(shard.slots)) == ("[::1]:6379", 1, 16384)


def test_servers_that_cannot_be_swept() -> None:
    """A Sentinel and a user without CLUSTER SLOTS are final; a lone replica may become a primary."""
    denied = exceptions.NoPermissionError("no", status_code="NOPERM")
    for link, error in (
        (server(b"sentinel", []), DeniedError),
        (server(b"cluster", denied), DeniedError),
        (server(b"cluster", exceptions.ResponseError("ERR busy")), UnreachableError),
        (server(b"standalone", [], role=b"replica"), UnreachableError),
    ):
        with pytest.raises(error):
            read_topology(link, Address("h", 1))


def test_an_address_that_another_redis_took_over_is_not_believed() -> None:
    """Once the cluster is known, an answer with none of its nodes is ignored, and every link is closed."""
    links = {
        1: server(b"standalone", []),
        2: server(b"cluster", [[0, 16383, [b"h", 1, b"strange", []]]]),
        3: server(b"cluster", ENTRIES),
    }
    known = frozenset({"two", "gone"})
    topology = discover(lambda address: links[address.port], [Address("h", port) for port in links], known)
    assert topology.node_ids == {"one", "two", "four"}
    assert all(link.closed for link in links.values())
    with pytest.raises(UnreachableError, match="belongs to another cluster"):
        discover(lambda address: links[address.port], [Address("h", 1), Address("h", 2)], known)
