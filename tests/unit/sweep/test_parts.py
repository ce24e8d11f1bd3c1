"""Slots and probes, pace and allowance, topology: the small parts of the sweep."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import exceptions

from k6_sweep.cluster.links import WriteSize
from k6_sweep.cluster.replies import ReplyKind, judge
from k6_sweep.cluster.slots import ALL_SLOTS, TAGS, format_ranges, key_slot
from k6_sweep.cluster.topology import discover, importing, read_topology
from k6_sweep.errors import DeniedError, RefusedError, UnreachableError
from k6_sweep.patterns import Pattern
from k6_sweep.settings.values import Address
from k6_sweep.sweep.guard import check_namespace
from k6_sweep.sweep.matcher import Matcher
from k6_sweep.sweep.orders import Allowance, LimitReachedError, Pace
from k6_sweep.sweep.probes import Probes, pinned_slot, reachable_slots
from tests.unit.sweep.fakes import FakeLink


def test_every_slot_has_a_tag() -> None:
    """Each of the 16,384 tags leads to its own slot."""
    assert [key_slot(b"{%b}" % tag) for tag in TAGS] == list(ALL_SLOTS)


@given(st.sets(st.integers(0, 16383)))
def test_ranges_can_be_read_back(slots: set[int]) -> None:
    """What is written as ranges is the slots, each once, in order."""
    text = format_ranges(slots)
    ends = [[int(end) for end in part.split("-")] for part in text.split(",") if part]
    assert list(itertools.chain.from_iterable(range(end[0], end[-1] + 1) for end in ends)) == sorted(slots)


PROBED = [["test:*"], ["{a}test:*", "test:*"], ["tes?:[xy]:*:z"], ["exact", "test:*"], ["test:{*}:a", "other:*"]]


@pytest.mark.parametrize("globs", PROBED)
def test_probes_are_in_their_slot_and_allowed(globs: list[str]) -> None:
    """Each slot's probe is a key of that slot that one of the patterns matches, so that an ACL lets it through."""
    patterns = [Pattern(glob) for glob in globs]
    probes = Probes(patterns, b"nonce")
    keys = [probes.key(slot) for slot in ALL_SLOTS]
    assert [key_slot(key) for key in keys] == list(ALL_SLOTS)
    assert len(Matcher(patterns).split(list(keys)).chosen) == len(keys)


def test_pinned_patterns() -> None:
    """A hash tag in the literal start, or no wildcard at all, leaves one slot; probes are made for it."""
    patterns = [Pattern("test:{a}:*"), Pattern("exact"), Pattern("test:{b}?")]
    assert [pinned_slot(pattern) for pattern in patterns] == [key_slot(b"a"), key_slot(b"exact"), key_slot(b"b")]
    slots = reachable_slots(patterns)
    assert slots == sorted({key_slot(b"a"), key_slot(b"exact"), key_slot(b"b")})
    assert [key_slot(Probes(patterns, b"nonce").key(slot)) for slot in slots] == slots
    assert reachable_slots([*patterns, Pattern("test:*")]) is ALL_SLOTS
    assert pinned_slot(Pattern("test:{}*")) is None


def test_the_rate_is_held() -> None:
    """At 100 keys a second the thousandth key waits for the tenth second, no matter how they come."""
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    pace = Pace(100, clock=lambda: now, sleep=sleep)
    for keys in (1, 99, 300, 600, 5):
        pace.wait(keys, remaining=lambda: 60.0)
    assert now == pytest.approx(10.0)
    pace.wait(10_000, remaining=lambda: 12.0 - now)
    pace.wait(1, remaining=lambda: 12.0 - now)
    assert now == pytest.approx(12.0, abs=0.2)  # no longer than there is time


def test_no_rate_no_wait() -> None:
    """Without a rate nobody waits."""
    Pace(None, sleep=lambda _: pytest.fail("slept")).wait(10**9, remaining=lambda: 60.0)


def test_writes_shrink_when_they_take_long_and_grow_again() -> None:
    """A round trip above the budget halves the next write; each one below lets it grow by an eighth, up to a bound."""
    size = WriteSize(most=1000, budget=0.005)
    sizes = []
    for seconds in [0.001] * 12 + [0.0071] * 2 + [0.0059]:
        size.learn(seconds)
        sizes.append(size.keys)
    assert sizes[:12] == sorted(sizes[:12])
    assert sizes[11] == 1000
    assert sizes[12:] == [500, 250, 282]


def test_a_long_way_is_not_taken_for_a_busy_server() -> None:
    """What every round trip takes is the way there and back, which no other client waits for."""
    size = WriteSize(most=1000, budget=0.005)
    for _ in range(20):
        size.learn(0.080)
    assert size.keys == 1000
    size.learn(0.086)
    assert size.keys == 500


def test_a_write_never_becomes_nothing() -> None:
    """However slow the server, some keys go into a write; a bound below that holds nevertheless."""
    size, tiny = WriteSize(most=1000, budget=0.005), WriteSize(most=3, budget=0.005)
    for seconds in [0.001] + [1.0] * 30:
        size.learn(seconds)
        tiny.learn(seconds)
    assert size.keys == 16
    assert tiny.keys == 3


def test_the_allowance() -> None:
    """What is taken is gone; what is not there is not given, and nothing is lost by asking."""
    allowance = Allowance(10)
    allowance.take(7)
    with pytest.raises(LimitReachedError):
        allowance.take(4)
    allowance.take(3)
    Allowance(None).take(10**9)


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (exceptions.MovedError("1 h:1"), ReplyKind.LATER),
        (exceptions.AskError("1 h:1"), ReplyKind.MOVING),
        (exceptions.TryAgainError("Multiple keys"), ReplyKind.MOVING),
        (exceptions.MasterDownError("Link with MASTER is down", status_code="MASTERDOWN"), ReplyKind.LATER),
        (exceptions.ResponseError("NOREPLICAS Not enough good replicas"), ReplyKind.LATER),
        (exceptions.ResponseError("BUSY Redis is busy running a script"), ReplyKind.LATER),
        (exceptions.NoPermissionError("no", status_code="NOPERM"), ReplyKind.DENIED),
        (exceptions.ResponseError("ERR unknown command"), ReplyKind.DENIED),
    ],
)
def test_errors_are_judged(error: Exception, verdict: ReplyKind) -> None:
    """Which errors pass, which tell of a move, and which are final."""
    trouble = judge(error)
    assert trouble is not None
    assert trouble.kind is verdict
    assert judge(1) is None


@pytest.mark.parametrize(
    ("namespace", "allowed", "fine"),
    [
        ("a", [], True),
        (None, [], True),
        ("load-1", ["x", "load-*"], True),
        ("prod", ["load-*"], False),
        (None, ["*"], False),
    ],
)
def test_namespaces(namespace: str | None, allowed: list[str], fine: bool) -> None:
    """Globs permit namespaces; an unknown one is permitted only where nothing is asked."""
    if fine:
        check_namespace(allowed, namespace)
    else:
        with pytest.raises(RefusedError):
            check_namespace(allowed, namespace)


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
    """Ranges are put together by primary; an unnamed host is the answering server's."""
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


def test_a_user_who_may_not_ask_knows_no_failed_replica() -> None:
    """CLUSTER SLOTS hides failed replicas; where CLUSTER NODES is denied, they are not known."""
    denied = exceptions.NoPermissionError("no", status_code="NOPERM")
    topology = read_topology(server(b"cluster", ENTRIES, nodes=denied), Address("10.0.0.9", 6379))
    assert [shard.replicas for shard in topology.shards] == [1, 0]


def test_slots_that_are_taken_in() -> None:
    """A node's own line says what it is taking in; what it gives away, and what others do, is not meant."""
    nodes = b"""\
one 10.0.0.1:6379@16379 master - 0 0 1 connected 0-99 [5-<-two]
two 10.0.0.9:6380@16380 myself,master - 0 0 2 connected 100-16383 [93-<-one] [120->-one]
"""
    assert importing(server(b"cluster", ENTRIES, nodes=nodes)) == {93}
    denied = exceptions.NoPermissionError("no", status_code="NOPERM")
    assert importing(server(b"cluster", ENTRIES, nodes=denied)) == frozenset()


def test_topology_of_one_server() -> None:
    """Outside cluster mode one server has all slots."""
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
    """Once the cluster is known, an answer that names none of its nodes is passed over, and every link is closed."""
    links = {
        1: server(b"standalone", []),
        2: server(b"cluster", [[0, 16383, [b"h", 1, b"strange", []]]]),
        3: server(b"cluster", ENTRIES),
    }
    known = frozenset({"two", "gone"})
    topology = discover(lambda address: links[address.port], [Address("h", port) for port in links], known)
    assert topology.node_ids == {"one", "two", "four"}
    assert all(link.closed for link in links.values())
    with pytest.raises(UnreachableError, match="does not belong to the cluster"):
        discover(lambda address: links[address.port], [Address("h", 1), Address("h", 2)], known)
