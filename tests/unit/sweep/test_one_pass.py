"""The rules of retries in one pass: the slots to ask again, the node to ask, and the end of the pass."""

import io
import threading
from collections.abc import Callable, Iterable

import pytest
from redis import exceptions

from k6_sweep.cluster.link import Connect, Link
from k6_sweep.errors import DeniedError, UnreachableError
from k6_sweep.log import Log, open_log
from k6_sweep.settings.values import Address
from k6_sweep.sweep.one_pass import Rounds
from k6_sweep.sweep.orders import Orders, Tally
from k6_sweep.sweep.pass_result import PassResult
from tests.support import quiet_log, settings_for
from tests.unit.cluster.fake_redis import ALWAYS, HANG, FakeCluster, Happens, key
from tests.unit.sweep.fakes import Deadline, orders_for

OF_A, OF_B, OF_C = 10, 6000, 12000
"""A slot of each node."""
SLOTS = (OF_A, 20, OF_B, 6010, OF_C, 12010)
KEPT = b"user:1"


def filled(replicas: int = 0) -> FakeCluster:
    """Return three nodes with 15 keys in each of the slots, and one key that stays."""
    cluster = FakeCluster(replicas=replicas)
    cluster.fill(KEPT, *(key(slot, number) for slot in SLOTS for number in range(15)))
    return cluster


def run(
    cluster: FakeCluster,
    orders: Orders | None = None,
    connect: Connect | None = None,
    tick: Callable[[], None] = lambda: None,
    slots: Iterable[int] = SLOTS,
    log: Log | None = None,
) -> tuple[PassResult, Rounds]:
    """Run one pass over the slots."""
    result = PassResult(open=set(slots), started=0.0)
    rounds = Rounds(settings_for(cluster.url), connect or cluster.connect, log or quiet_log())
    try:
        rounds.refresh(lambda: 60.0)
        rounds.run(orders or orders_for(), result, tick)
    finally:
        rounds.close()
    return result, rounds


def after_round(cluster: FakeCluster, number: int, happens: Happens, times: int = 1) -> None:
    """Let something happen when the topology is read after a round, if node a answers."""
    cluster.on(b"SLOTS", happens, node="a", skip=number + 1, times=times)  # read at the start, and for a's own link


def tallies(result: PassResult, name: str) -> list[Tally]:
    """Return a node's tallies, one for each round."""
    return result.tallies[Address(name, 6379)]


def test_one_round_is_enough_where_nothing_happens() -> None:
    """Each primary is asked for its own slots: keys that match go, the others stay, and the counts are exact."""
    cluster = filled()
    result, _ = run(cluster)
    assert (result.open, result.rounds, result.deleted, result.matched) == (set(), 1, 90, 90)
    assert (result.unsure, result.broken, result.final) == ([], False, False)
    assert cluster.keys == {KEPT}
    assert {name: len(command) for name, command in cluster.got(b"GETKEYSINSLOT")} == {"a": 4, "b": 4, "c": 4}


@pytest.mark.parametrize("skip", [0, 1], ids=["before the list", "before the delete"])
def test_a_slot_that_has_moved_is_asked_of_its_new_owner(skip: int) -> None:
    """MOVED leaves the slot open; the topology is read again, and the next round asks the new owner."""
    cluster = filled()
    cluster.on(b"UNLINK", lambda: cluster.move(OF_A, to="b"), slot=OF_A, skip=skip)
    result, _ = run(cluster)
    assert (result.open, result.rounds, result.deleted) == (set(), 2, 90)
    assert cluster.keys == {KEPT}
    first, second = tallies(result, "b")
    assert (OF_A in first.finished, second.finished) == (False, {OF_A})


PASSING = [
    "CLUSTERDOWN The cluster is down",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "READONLY You can't write against a read only replica.",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "NOREPLICAS Not enough good replicas to write.",
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
    "BUSY Redis is busy running a script.",
]


@pytest.mark.parametrize("skip", [0, 1], ids=["before the list", "with the delete"])
@pytest.mark.parametrize("error", PASSING, ids=lambda error: error.partition(" ")[0])
def test_an_error_that_passes_is_asked_again(error: str, skip: int) -> None:
    """A temporary error leaves its slot open for the next round, and nothing is counted twice or lost."""
    cluster = filled()
    cluster.on(b"UNLINK", error, slot=OF_B, skip=skip)
    result, _ = run(cluster)
    assert (result.open, result.rounds, result.deleted, result.matched) == (set(), 2, 90, 90)
    assert (result.unsure, result.broken, result.troubles()) == ([], False, {})
    assert [(tally.asked, OF_B in tally.finished) for tally in tallies(result, "b")] == [(2, False), (1, True)]


@pytest.mark.parametrize(
    "failure",
    ["LOADING Redis is loading the dataset in memory", exceptions.ConnectionError("reset"), exceptions.TimeoutError()],
    ids=["LOADING", "reset", "silent"],
)
def test_a_lost_connection_is_opened_again(failure: str | Exception) -> None:
    """After a lost connection the primary is asked again over a new one, and the count of its deletes is doubtful."""
    cluster = filled()
    cluster.on(b"UNLINK", failure, slot=OF_A, skip=1)
    result, _ = run(cluster)
    assert (result.open, result.rounds, cluster.keys) == (set(), 2, {KEPT})
    assert result.broken
    assert any("lost the connection to a:6379" in reason for reason in result.unsure)
    assert any("the connection to a:6379 was lost" in reason for reason in result.unsure)
    assert cluster.connected.count("a") >= 3  # for the topology, for each round's work


def test_a_primary_that_is_away_holds_up_no_other() -> None:
    """An unreachable primary keeps only its own slots open until the deadline; those of the others are proven."""
    cluster, deadline = filled(), Deadline()
    cluster.on(b"SLOTS", lambda: cluster.fail("c"), node="a")
    after_round(cluster, 2, deadline.come)
    result, _ = run(cluster, orders_for(remaining=deadline))
    assert result.open == {OF_C, 12010}
    assert list(result.unreachable) == ["c:6379"]
    assert "Connection refused" in result.unreachable["c:6379"]
    assert result.rounds == 3
    assert not result.final


def test_the_replica_that_takes_over_is_swept() -> None:
    """After a failover the new owner of the slots is asked, and the keys that it brought back are deleted too."""
    cluster = filled()
    cluster.on(b"GETKEYSINSLOT", lambda: cluster.take_over("c", by="d"), slot=OF_C)
    result, rounds = run(cluster)
    assert (result.open, cluster.keys) == (set(), {KEPT})
    assert result.broken
    assert rounds.topology.node_ids == {"a", "b", "d"}


def test_a_primary_that_broke_away_is_the_last_to_be_asked_for_the_topology() -> None:
    """A primary whose connection broke is asked last for the topology: it may not know that it was replaced."""
    cluster = filled()
    cluster.on(b"UNLINK", exceptions.ConnectionError("reset"), node="a")
    run(cluster)
    at = len(cluster.connected) - 1 - cluster.connected[::-1].index("a")  # where it is opened again for its slots
    assert cluster.connected[at - 1] == "b"


def test_a_moving_slot_is_swept_on_both_nodes() -> None:
    """ASK sends the sweep to both nodes of the slot in the same round, and the slot is proven while it moves."""
    cluster = filled()
    cluster.migrate(OF_A, "b", *(key(OF_A, number) for number in range(7)))
    result, _ = run(cluster)
    assert (result.open, result.rounds, result.deleted, result.matched) == (set(), 1, 90, 90)
    assert cluster.keys == {KEPT}
    assert tallies(result, "a")[0].moving == {OF_A}
    assert {name for name, _ in cluster.got(b"ASKING")} == {"b"}


def test_a_slot_that_arrives_meanwhile_is_asked_again() -> None:
    """A migration that ends during the sweep leaves the slot open; the new owner proves it in the next round."""
    cluster = filled()
    cluster.migrate(OF_A, "b", key(OF_A, 0))
    cluster.on(b"GETKEYSINSLOT", lambda: cluster.arrive(OF_A), node="b", slot=OF_A)
    result, _ = run(cluster)
    assert (result.open, result.rounds, result.deleted) == (set(), 2, 90)
    assert cluster.keys == {KEPT}


def test_a_target_that_is_away_holds_up_only_the_slot_that_moves_there() -> None:
    """If the target of a moving slot is lost, only that slot stays open; the other slots of the source are proven."""
    cluster, deadline = filled(), Deadline()
    cluster.migrate(OF_A, "b")
    cluster.on(b"ASKING", exceptions.ConnectionError("reset"), times=ALWAYS)
    cluster.on(b"GETKEYSINSLOT", exceptions.ConnectionError("reset"), node="b", slot=OF_A, times=ALWAYS)
    after_round(cluster, 2, deadline.come)
    result, _ = run(cluster, orders_for(remaining=deadline))
    assert result.open == {OF_A}
    assert "lost the connection to b:6379" in result.troubles()[OF_A]
    assert 20 in tallies(result, "a")[0].finished


def test_keys_of_a_migration_that_was_broken_off_keep_their_slot_open() -> None:
    """If a node holds keys of a slot whose owner knows of no migration, the slot is open again, with a reason."""
    cluster, deadline = filled(), Deadline()
    cluster.migrate(OF_A, "b", key(OF_A, 0))
    cluster.break_off(OF_A)
    after_round(cluster, 2, deadline.come)
    result, _ = run(cluster, orders_for(remaining=deadline))
    assert result.open == {OF_A}
    assert "move the keys to the slot's owner" in result.troubles()[OF_A]
    assert cluster.keys == {KEPT, key(OF_A, 0)}


def test_a_migration_that_was_mended_is_proven() -> None:
    """Once the owner knows again where the slot's keys are, the slot is swept and proven."""
    cluster = filled()
    cluster.migrate(OF_A, "b", key(OF_A, 0))
    cluster.break_off(OF_A)

    def mend() -> None:
        cluster["a"].migrating[OF_A] = cluster["b"]

    after_round(cluster, 2, mend)
    result, _ = run(cluster)
    assert (result.open, cluster.keys) == (set(), {KEPT})
    assert result.rounds == 3


def test_keys_on_a_primary_without_slots_keep_their_slot_open() -> None:
    """If a new primary without slots holds keys of a slot whose owner knows of no migration, the slot stays open."""
    cluster, deadline = filled(), Deadline()
    cluster.join("d")
    cluster.migrate(OF_A, "d", key(OF_A, 0))
    cluster.break_off(OF_A)
    after_round(cluster, 2, deadline.come)
    result, _ = run(cluster, orders_for(remaining=deadline))
    assert result.open == {OF_A}
    assert "move the keys to the slot's owner" in result.troubles()[OF_A]
    assert cluster.keys == {KEPT, key(OF_A, 0)}


def test_a_migration_to_a_primary_without_slots_is_swept() -> None:
    """A slot that moves to a primary without slots, as its owner knows, is swept on both nodes."""
    cluster = filled()
    cluster.join("d")
    cluster.migrate(OF_A, "d", key(OF_A, 0))
    result, _ = run(cluster)
    assert (result.open, cluster.keys) == (set(), {KEPT})


def test_a_primary_without_slots_that_does_not_answer_leaves_all_slots_open() -> None:
    """Any slot may be on the way to a primary that cannot be asked, so no slot is proven until it answers."""
    cluster, deadline = filled(), Deadline()
    cluster.join("d")
    cluster.on(b"HELLO", exceptions.ConnectionError("reset"), node="d", times=ALWAYS)
    after_round(cluster, 2, deadline.come)
    result, _ = run(cluster, orders_for(remaining=deadline))
    assert result.open == set(SLOTS)
    assert "the primary d:6379, which owns no slot, may import this one" in result.troubles()[OF_A]


def test_a_primary_without_slots_is_asked_again() -> None:
    """Once the primary without slots answers, the slots are proven."""
    cluster = filled()
    cluster.join("d")
    cluster.on(b"HELLO", exceptions.ConnectionError("reset"), node="d")
    result, _ = run(cluster)
    assert (result.open, result.rounds, cluster.keys) == (set(), 2, {KEPT})


def test_a_mark_is_believed_while_its_node_is_away() -> None:
    """If a node that imports keys is lost, the slot stays open until the node has answered again."""
    cluster, deadline = filled(), Deadline()
    cluster.migrate(OF_A, "b")
    cluster.break_off(OF_A)
    cluster.on(b"NODES", exceptions.ConnectionError("reset"), node="b", skip=2)  # its link, its work, then after it
    after_round(cluster, 1, cluster["b"].importing.clear)
    after_round(cluster, 5, deadline.come)
    result, _ = run(cluster, orders_for(remaining=deadline))
    assert (result.open, result.rounds, cluster.keys) == (set(), 2, {KEPT})


def test_a_mark_that_an_owner_has_on_its_own_slot_raises_no_doubt() -> None:
    """An owner that still reports IMPORTING for its own slot raises no doubt: it is asked for all its keys anyway."""
    cluster = filled()
    cluster["a"].importing[OF_A] = cluster["b"]
    result, _ = run(cluster)
    assert (result.open, result.rounds, cluster.keys) == (set(), 1, {KEPT})


def test_a_denial_is_final() -> None:
    """A missing permission ends the pass after its first round: a retry does not help."""
    cluster = filled()
    cluster.deny(b"UNLINK")
    result, _ = run(cluster)
    assert result.final
    assert "NOPERM" in str(result.denied)
    assert (result.rounds, result.open, len(cluster.keys)) == (1, set(SLOTS), 91)


def test_scan_takes_over_where_listing_is_denied() -> None:
    """If the listing of a slot is denied, the next round finds its keys with SCAN, and proves the same slots."""
    cluster = filled()
    cluster.deny(b"GETKEYSINSLOT")
    lines = io.StringIO()
    result, rounds = run(cluster, log=open_log("json", "warning", stream=lines))
    assert rounds.by_scan
    assert "using SCAN" in lines.getvalue()
    assert (result.open, result.rounds, result.deleted) == (set(), 2, 90)
    assert cluster.keys == {KEPT}
    listed = len(cluster.got(b"GETKEYSINSLOT"))
    assert [command[0] for _, command in cluster.sent[-listed:]].count(b"GETKEYSINSLOT") == 0  # it was not tried again


def test_scan_proves_only_slots_that_stayed() -> None:
    """A slot that moves during the walk is not proven by it: the new owner is walked in the next round."""
    cluster = filled()
    cluster.deny(b"GETKEYSINSLOT")
    cluster.on(b"SCAN", lambda: cluster.move(OF_A, to="b"), node="a")
    result, _ = run(cluster)
    assert (result.open, result.rounds, cluster.keys) == (set(), 3, {KEPT})


def test_slots_that_no_primary_owns_stay_open() -> None:
    """Slots without a primary are open at the end, without an error of a server."""
    cluster, deadline = filled(), Deadline()
    cluster.owner.pop(OF_B)
    after_round(cluster, 2, deadline.come)
    result, rounds = run(cluster, orders_for(remaining=deadline))
    assert (result.open, result.troubles()) == ({OF_B}, {})
    assert rounds.topology.uncovered() == [OF_B]


def test_slots_that_get_an_owner_are_swept() -> None:
    """A slot that a primary takes later is asked of it in the next round."""
    cluster = filled()
    owner = cluster.owner.pop(OF_B)
    after_round(cluster, 2, lambda: cluster.owner.update({OF_B: owner}))
    result, _ = run(cluster)
    assert (result.open, cluster.keys) == (set(), {KEPT})
    assert result.rounds == 3


def test_a_replica_acknowledges_what_was_deleted() -> None:
    """A primary with replicas gets WAIT for one replica; if it acknowledges, the counts are exact."""
    cluster = filled(replicas=1)
    result, _ = run(cluster)
    assert {name for name, _ in cluster.got(b"WAIT")} == {"a", "b", "c"}
    assert result.unsure == []


def test_replicas_that_do_not_acknowledge_make_the_counts_doubtful() -> None:
    """If no replica has the deletes in time, or WAIT is refused, the slots are proven and the counts are doubtful."""
    cluster = filled(replicas=1)
    cluster["a"].acknowledging = 0
    cluster.on(b"WAIT", "NOPERM no permissions to run 'wait'", node="b")
    result, _ = run(cluster)
    assert result.open == set()
    assert sorted(result.unsure) == [
        "b:6379 denies WAIT: a replica may lack the deletes: NOPERM no permissions to run 'wait'",
        "no replica of a:6379 has acknowledged the deletes",
    ]


def test_a_replica_of_a_slots_target_is_waited_for() -> None:
    """A replica of a moving slot's target acknowledges the deletes on that target."""
    cluster = filled(replicas=1)
    cluster.migrate(OF_A, "b", key(OF_A, 0))
    cluster["b"].acknowledging = 0
    result, _ = run(cluster, slots=[OF_A])
    assert result.open == set()
    assert result.unsure == ["no replica of b:6379 has acknowledged the deletes"]


@pytest.mark.parametrize("delete", [True, False])
def test_no_replica_is_waited_for_without_need(delete: bool) -> None:
    """WAIT is not sent to a primary without replicas, nor if nothing is deleted."""
    cluster = filled(replicas=0 if delete else 1)
    run(cluster, orders_for(delete=delete))
    assert cluster.got(b"WAIT") == []


def test_a_dry_run_retries_too() -> None:
    """A dry run follows a moving slot as a sweep does, and sends no UNLINK."""
    cluster = filled()
    cluster.on(b"EXISTS", lambda: cluster.move(OF_A, to="b"), slot=OF_A)
    result, _ = run(cluster, orders_for(delete=False))
    assert (result.open, result.rounds, result.matched, result.deleted) == (set(), 2, 90, 0)
    assert cluster.got(b"UNLINK") == []


def test_the_bound_on_keys_ends_the_pass() -> None:
    """A delete that would go beyond the allowance is not sent, and no further round follows."""
    cluster = filled()
    result, _ = run(cluster, orders_for(limit=40))
    assert result.over_limit
    assert result.final
    assert result.rounds == 1
    assert result.deleted == 91 - len(cluster.keys) <= 40


def test_nothing_is_deleted_after_the_deadline() -> None:
    """A pass that begins without time sends no delete; the one round that it makes leaves all slots open."""
    cluster, deadline = filled(), Deadline()
    deadline.come()
    result, _ = run(cluster, orders_for(remaining=deadline))
    assert (result.open, result.rounds, result.deleted, len(cluster.keys)) == (set(SLOTS), 1, 0, 91)
    assert cluster.got(b"UNLINK") == []


def test_the_deadline_stops_a_pass_between_two_writes() -> None:
    """After the deadline the next write is not sent: the slot stays open, and the earlier deletes are counted."""
    cluster, deadline = filled(), Deadline()
    cluster.fill(*(key(6010, number) for number in range(600)))
    before = len(cluster.keys)
    cluster.on(b"UNLINK", deadline.come, slot=6010, skip=1)  # the first of several deletes
    result, _ = run(cluster, orders_for(remaining=deadline))
    assert 0 < len(cluster["b"].slots[6010]) < 600
    assert 6010 in result.open
    assert (result.rounds, result.deleted) == (1, before - len(cluster.keys))


def test_a_worker_that_is_stuck_is_cut_off() -> None:
    """The pass waits for a primary without an answer until shortly after the deadline, then closes its connection."""
    cluster, deadline = filled(), Deadline()
    cluster.on(b"UNLINK", HANG, node="a")

    def tick() -> None:
        if "a" in {name for name, _ in cluster.got(b"UNLINK")}:
            deadline.left = -0.5

    result, _ = run(cluster, orders_for(remaining=deadline), tick=tick)
    assert result.open >= {OF_A, 20}
    assert "lost the connection to a:6379" in result.unreachable["a:6379"]


def test_a_worker_that_cannot_be_cut_off_is_left() -> None:
    """The pass does not wait for a worker that no closed connection can free; its slots are open, and it is named."""
    cluster, deadline, may_go = filled(), Deadline(), threading.Event()

    def connect(address: Address) -> Link:
        if address.host == "b":
            may_go.wait(30)
        return cluster.connect(address)

    def tick() -> None:
        deadline.left = -2.0

    try:
        result, _ = run(cluster, orders_for(remaining=deadline), connect, tick)
    finally:
        may_go.set()
    assert result.unreachable["b:6379"] == "b:6379 did not answer in time"
    assert result.open >= {OF_B, 6010}


def test_a_stranger_with_a_primarys_address_is_not_swept() -> None:
    """A node at a reused address that names none of the cluster's nodes is another Redis, and keeps its keys."""
    cluster, deadline, stranger = filled(), Deadline(), FakeCluster("xyz")
    stranger.fill(*(key(slot, number) for slot in SLOTS for number in range(3)))

    def connect(address: Address) -> Link:
        if address.host == "b":
            return stranger.connect(Address("x", 6379))
        return cluster.connect(address)

    after_round(cluster, 2, deadline.come)
    result, _ = run(cluster, orders_for(remaining=deadline), connect)
    assert result.open == {OF_B, 6010}
    assert "belongs to another cluster" in result.unreachable["b:6379"]
    assert len(stranger.keys) == 18
    assert all(link.closed for link in stranger.links)


def unread(cluster: FakeCluster, error: str) -> None:
    """Let every node refuse the topology after the first round, in which a slot stays open."""
    cluster.on(b"UNLINK", "CLUSTERDOWN Hash slot not served", slot=OF_A)
    after_round(cluster, 1, error, times=2)  # the known primaries are asked, then the seed, which is node a again
    for name in "bc":
        cluster.on(b"SLOTS", error, node=name, skip=1)


def test_a_topology_that_cannot_be_read_is_asked_for_again() -> None:
    """If no node gives the topology between two rounds, the next round uses the old one."""
    cluster = filled()
    unread(cluster, "CLUSTERDOWN The cluster is down")
    result, _ = run(cluster)
    assert (result.open, result.rounds, cluster.keys) == (set(), 2, {KEPT})
    assert [len(cluster.got(b"SLOTS")), result.unreachable] == [8, {}]


def test_a_topology_that_is_denied_is_final() -> None:
    """A user who loses the permission to read the topology cannot go on: the open slot stays open."""
    cluster = filled()
    unread(cluster, "NOPERM User k6 has no permissions to run the 'cluster|slots' command")
    result, _ = run(cluster)
    assert "NOPERM" in str(result.denied)
    assert (result.open, result.rounds) == ({OF_A}, 1)


def test_no_topology_no_pass() -> None:
    """If no node gives the topology at the start, the pass raises an error, a denial rather than a missing answer."""
    cluster = filled()
    cluster.fail("a")
    with pytest.raises(UnreachableError, match="Connection refused"):
        run(cluster)
    cluster = filled()
    cluster.deny(b"SLOTS")
    with pytest.raises(DeniedError, match="NOPERM"):
        run(cluster)


def test_no_link_outlives_the_pass() -> None:
    """Every opened connection is closed at the end, even a broken one."""
    cluster = filled()
    cluster.on(b"UNLINK", exceptions.ConnectionError("reset"), slot=OF_B)
    run(cluster)
    assert len(cluster.links) > 3
    assert all(link.closed for link in cluster.links)
