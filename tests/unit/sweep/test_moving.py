"""A slot that moves is swept on both of its nodes, and is proven only while it still moves to the same one."""

from collections.abc import Callable

import pytest
from redis import exceptions

from k6_sweep.cluster.window import LIST_LIMIT, Window
from k6_sweep.errors import DeniedError, UnreachableError
from k6_sweep.settings.values import Address
from k6_sweep.sweep.moving import MovingSlot, where_to
from k6_sweep.sweep.orders import LimitReachedError, Orders, Tally
from tests.unit.cluster.fake_redis import FakeCluster, key
from tests.unit.sweep.fakes import Deadline, orders_for, tally

SLOT = 10
KEYS = [key(SLOT, number) for number in range(12)]
KEPT = b"user:{" + KEYS[0].partition(b"{")[2].partition(b"}")[0] + b"}"


def half_way() -> FakeCluster:
    """Return a cluster in which a slot moves from a to b, which has the first five of its keys."""
    cluster = FakeCluster()
    cluster.fill(KEPT, *KEYS)
    cluster.migrate(SLOT, "b", *KEYS[:5])
    return cluster


def sweep(cluster: FakeCluster, orders: Orders | None = None, to: str = "b") -> Tally:
    counts, target = tally(), Address(to, 6379)
    links = cluster.connect(Address("a", 6379)), cluster.connect(target)
    MovingSlot(*links, target, SLOT, orders or orders_for(), counts, Window(8, 1.0)).sweep()
    return counts


def is_proven(counts: Tally) -> bool:
    assert counts.finished == counts.moving
    return counts.finished == {SLOT}


def test_the_source_names_the_target_of_a_slot() -> None:
    """A moving slot's source names the target; a slot that has arrived, came back or never moved has none."""
    cluster = half_way()
    source = cluster.connect(Address("a", 6379))
    assert where_to(source, SLOT, orders_for()) == Address("b", 6379)
    assert where_to(source, 20, orders_for()) is None
    cluster.arrive(SLOT)
    assert where_to(source, SLOT, orders_for()) is None


def test_keys_go_on_both_nodes() -> None:
    """Keys that match go wherever they are, others stay, and each is counted once."""
    cluster = half_way()
    counts = sweep(cluster)
    assert is_proven(counts)
    assert (counts.deleted, counts.matched) == (12, [12])
    assert cluster.keys == {KEPT}


def test_single_keys_are_never_turned_away() -> None:
    """Each key has an UNLINK of its own: several at once may be answered by TRYAGAIN for as long as the slot moves."""
    cluster = half_way()
    sweep(cluster)
    assert {len(command) for _, command in cluster.got(b"UNLINK")} == {2}


def test_a_key_that_leaves_before_its_delete_is_followed() -> None:
    """A key that was listed on the source and has left is deleted on the target, after ASKING."""
    cluster = half_way()

    def leave() -> None:
        for each in KEYS[5:9]:
            cluster["b"].put(each, cluster["a"].take(each) or b"")

    cluster.on(b"UNLINK", leave, node="a")
    counts = sweep(cluster)
    assert is_proven(counts)
    assert (counts.deleted, counts.matched, cluster.keys) == (12, [12], {KEPT})


def test_the_source_is_listed_first() -> None:
    """Keys only go from source to target: those that leave before the source is listed are met on the target."""
    cluster = half_way()

    def leave() -> None:
        for each in KEYS[5:9]:
            cluster["b"].put(each, cluster["a"].take(each) or b"")

    cluster.on(b"GETKEYSINSLOT", leave, node="a")
    assert is_proven(sweep(cluster))
    assert cluster.keys == {KEPT}


def test_a_dry_run_counts_a_key_once() -> None:
    """A key that is seen on both nodes, because it left in between, counts once; nothing is deleted."""
    cluster, found = half_way(), list[bytes]()

    def leave() -> None:
        for each in KEYS[5:9]:
            cluster["b"].put(each, cluster["a"].take(each) or b"")

    cluster.on(b"GETKEYSINSLOT", leave, node="b")
    orders = orders_for(delete=False, on_found=found.extend)
    counts = sweep(cluster, orders)
    assert is_proven(counts)
    assert (counts.deleted, counts.matched, sorted(found)) == (0, [12], sorted(KEYS))
    assert cluster.got(b"UNLINK") == []


def test_keys_that_are_spared_are_counted_on_both_nodes() -> None:
    """A key that a keep pattern matches stays on either node, and counts as spared once the slot is proven."""
    cluster = half_way()
    counts = sweep(cluster, orders_for(keep="test:*:[1-6]"))
    assert is_proven(counts)
    assert (counts.deleted, dict(counts.preserved)) == (6, {0: 6})
    assert cluster.keys == {KEPT, *KEYS[1:7]}


def ended(cluster: FakeCluster) -> None:
    cluster.arrive(SLOT)


def taken_back(cluster: FakeCluster) -> None:
    del cluster["a"].migrating[SLOT], cluster["b"].importing[SLOT]


def turned(cluster: FakeCluster) -> None:
    taken_back(cluster)
    cluster.migrate(SLOT, "c")


@pytest.mark.parametrize("change", [ended, taken_back, turned])
@pytest.mark.parametrize("moment", ["a", "b"], ids=["before the source is listed", "before the target is listed"])
def test_a_slot_that_does_not_move_there_any_more_is_not_proven(
    change: Callable[[FakeCluster], None], moment: str
) -> None:
    """If the migration ends, is taken back or goes elsewhere, the slot stays open: keys may have been missed."""
    cluster = half_way()
    cluster.on(b"GETKEYSINSLOT", lambda: change(cluster), node=moment)
    counts = sweep(cluster)
    assert counts.finished == counts.moving == set()
    assert counts.deleted == counts.matched[0] == 13 - len(cluster.keys)


def test_a_slot_that_turns_to_another_node_after_its_deletes_is_not_proven() -> None:
    """A source that names another target in the end may have sent keys there."""
    cluster = FakeCluster()
    cluster.fill(KEPT, *KEYS)
    cluster.migrate(SLOT, "b")
    cluster.on(b"GETKEYSINSLOT", lambda: turned(cluster), node="b")
    counts = sweep(cluster)
    assert (counts.finished, counts.deleted) == (set(), 12)


def test_a_target_that_already_owns_the_slot_proves_nothing() -> None:
    """A target that accepts the probe without ASKING already owns the slot, although the source does not know it."""
    cluster = FakeCluster()
    cluster.migrate(SLOT, "b")
    cluster.on(b"GETKEYSINSLOT", lambda: cluster.arrive(SLOT), node="b")
    cluster.on(b"UNLINK", f"ASK {SLOT} b:6379", node="a")
    assert sweep(cluster).finished == set()


def test_a_target_that_knows_of_no_migration_proves_nothing() -> None:
    """A slot is proven only if its source replies ASK and its target MOVED: both are in the same migration."""
    cluster = half_way()
    cluster.on(b"UNLINK", cluster["b"].importing.clear, node="b")
    counts = sweep(cluster)
    assert counts.finished == set()
    assert "MOVED" in counts.trouble[SLOT]


@pytest.mark.parametrize("node", ["a", "b"])
@pytest.mark.parametrize("error", ["CLUSTERDOWN The cluster is down", "MISCONF unable to persist to disk"])
@pytest.mark.parametrize("word", [b"UNLINK", b"GETKEYSINSLOT"], ids=["delete", "listing"])
def test_an_error_that_passes_leaves_the_slot_open(word: bytes, error: str, node: str) -> None:
    """After an error of either node the slot is asked again later; the deletes so far are counted."""
    cluster = half_way()
    cluster.on(word, error, node=node)
    counts = sweep(cluster)
    assert counts.finished == set()
    assert counts.trouble == {SLOT: error}
    assert counts.deleted == counts.matched[0] == 13 - len(cluster.keys)


@pytest.mark.parametrize(
    ("word", "node"),
    [(b"UNLINK", "a"), (b"UNLINK", "b"), (b"GETKEYSINSLOT", "a"), (b"GETKEYSINSLOT", "b"), (b"ASKING", "b")],
)
def test_a_denial_of_either_node_is_final(word: bytes, node: str) -> None:
    """A command that one of the nodes forbids is raised, with the node's name."""
    cluster = half_way()
    cluster.on(word, "NOPERM no permissions", node=node)
    with pytest.raises(DeniedError, match=f"{node}:6379 denies a command: NOPERM"):
        sweep(cluster)


@pytest.mark.parametrize("node", ["a", "b"])
def test_a_broken_link_is_raised(node: str) -> None:
    """If the connection to one node breaks, nothing is proven, and the count of its deletes is doubtful."""
    cluster, counts = half_way(), tally()
    cluster.on(b"UNLINK", exceptions.ConnectionError("reset"), node=node)
    source, target = cluster.connect(Address("a", 6379)), cluster.connect(Address("b", 6379))
    moving = MovingSlot(source, target, Address("b", 6379), SLOT, orders_for(), counts, Window(8, 1.0))
    with pytest.raises(UnreachableError, match=f"lost the connection to {node}:6379"):
        moving.sweep()
    assert counts.finished == set()
    assert "a delete got no answer" in counts.unsure[0]


def test_the_allowance_holds_while_a_slot_moves() -> None:
    """A delete that would go beyond the bound is not sent."""
    cluster = half_way()
    with pytest.raises(LimitReachedError):
        sweep(cluster, orders_for(limit=6))
    assert len(cluster.keys) >= 13 - 6


@pytest.mark.parametrize("node", ["a", "b"])
def test_the_deadline_leaves_the_slot_open(node: str) -> None:
    """When the time is up on either node, no other delete is sent, and the slot is not proven."""
    cluster, deadline = half_way(), Deadline()
    cluster.on(b"UNLINK", deadline.come, node=node)
    counts = sweep(cluster, orders_for(remaining=deadline))
    assert counts.finished == set()
    assert counts.deleted == 13 - len(cluster.keys)
    assert len(cluster.keys) > 1


def test_a_dry_run_stops_at_the_deadline() -> None:
    """A dry run that reaches its deadline does not count the slot's keys, because they are not all."""
    cluster, deadline = half_way(), Deadline()
    cluster.on(b"GETKEYSINSLOT", deadline.come, node="a")
    counts = sweep(cluster, orders_for(delete=False, remaining=deadline))
    assert (counts.finished, counts.matched) == (set(), [0])


def test_a_slot_with_more_keys_than_a_list_is_walked() -> None:
    """If a node's list may be incomplete, SCAN finds the slot's keys there, and only those."""
    cluster = FakeCluster()
    many = [key(SLOT, number) for number in range(LIST_LIMIT + 3)]
    cluster.fill(*many, key(20), KEPT)
    cluster.migrate(SLOT, "b", *many[:3])
    counts, target = tally(), Address("b", 6379)
    links = cluster.connect(Address("a", 6379)), cluster.connect(target)
    MovingSlot(*links, target, SLOT, orders_for(), counts, Window(5000, 10.0)).sweep()
    assert is_proven(counts)
    assert counts.deleted == len(many)
    assert cluster.keys == {key(20), KEPT}
    assert {name for name, _ in cluster.got(b"SCAN")} == {"a"}
