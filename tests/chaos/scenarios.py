"""Events that can harm a cluster during a sweep; each function describes its event in one line."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from k6_sweep.cluster.slots import SLOT_COUNT, TAGS
from k6_sweep.demo.servers import Node
from tests.chaos.world import NODE_TIMEOUT, World, until
from tests.clusters import owners_seen_by
from tests.support import move_slot


@dataclass(frozen=True)
class Scenario:
    """A harm, the steps before it, and the settle time that lets the sweep see all of it."""

    harm: Callable[[World], None]
    before: Callable[[World], None] = lambda _: None
    settle: float = 1.0
    on_every_server: bool = False
    """Whether server versions behave differently here."""
    seconds: float = 40.0
    """The deadline of the sweep."""
    loses_keys: bool = False
    """Whether slots are lost forever: then no load test could use this cluster any more."""
    by_redis_cli: bool = False
    """Whether it runs redis-cli, which Redis brings, but not every Valkey."""
    atomic: bool = False
    """Whether it needs a server that moves slots atomically."""
    during_snapshot: bool = False
    """Whether it always happens while a snapshot is taken."""


def planned_failover(world: World) -> None:
    """A replica takes over by a planned failover."""
    _, replica = world.pair()
    replica.ask("CLUSTER", "FAILOVER")
    world.wait_for_promotion(replica)


def primary_killed(world: World) -> None:
    """A primary is killed, and its replica is promoted."""
    primary, replica = world.pair()
    world.kill(primary)
    world.wait_for_promotion(replica)


def killed_and_back(world: World) -> None:
    """A primary is killed and comes back, before or after the promotion of its replica."""
    primary, _ = world.pair()
    world.kill(primary)
    time.sleep(world.chance.choice((0.1, 0.7, 3.0)))
    world.start(primary)


def replica_falls_behind(world: World) -> None:
    """Before the sweep, a replica loses its link."""
    world.pause(world.nodes[3])


def late_replica_promoted(world: World) -> None:
    """A primary is killed, and its replica, which lacks the last deletes, is promoted."""
    time.sleep(world.chance.uniform(0, 0.5))
    world.kill(world.nodes[0])
    world.wake(world.nodes[3])
    world.wait_for_promotion(world.nodes[3])


def replica_killed(world: World) -> None:
    """Before the sweep, a primary's only replica is killed."""
    world.kill(world.nodes[4])
    time.sleep(2 * NODE_TIMEOUT)


def primary_without_replica_killed(world: World) -> None:
    """A primary without a replica is killed, so its slots are lost."""
    world.lost.update(range(SLOT_COUNT // 3, SLOT_COUNT * 2 // 3))
    world.kill(world.nodes[1])


def node_paused(world: World) -> None:
    """A primary is paused for up to ten seconds; a replica may take over, and the old primary does not know it."""
    primary, _ = world.pair()
    world.pause(primary)
    time.sleep(world.chance.choice((0.5, 2.5, 10.0)))
    world.wake(primary)


def majority_paused(world: World) -> None:
    """All primaries but one are paused with their replicas: the minority that remains stops serving."""
    index = world.chance.randrange(3)
    others = [node for number, node in enumerate(world.nodes) if number % 3 != index]
    world.pause(*others)
    time.sleep(world.chance.choice((1.0, 4.0)))
    world.wake(*others)


def full_restart(world: World) -> None:
    """All nodes are killed and come back."""
    nodes = list(world.nodes)
    world.kill(*nodes)
    time.sleep(0.2)
    for node in nodes:
        world.start(node)


def reshard_both_ways(world: World) -> None:
    """redis-cli moves slots from the first node to the second, then others back."""
    slots = world.chance.choice((20, 60))
    world.reshard(world.nodes[0], world.nodes[1], slots)
    world.reshard(world.nodes[1], world.nodes[0], slots // 2)


def rebalance(world: World) -> None:
    """Before the sweep the slots are uneven; during the sweep redis-cli rebalances them."""
    world.agree()
    world.tool("rebalance", world.seed(), "--cluster-threshold", "1")


def make_uneven(world: World) -> None:
    """Move 150 slots of the first node to the second."""
    world.reshard(world.nodes[0], world.nodes[1], 150)


def half_moved(world: World) -> None:
    """Before the sweep, migrations stop halfway forever, in both directions."""
    chance, first, second = world.chance, world.nodes[0], world.nodes[1]
    slots = [*chance.sample(range(5000), 12), *chance.sample(range(5500, 10000), 12)]
    world.add(b"test:{%b}%d" % (TAGS[slot], i) for slot in slots for i in range(chance.randrange(12)))
    world.halfway.update(slots)
    for slot in slots:
        source, target = (first, second) if slot < 5400 else (second, first)
        move_slot(slot, source, target, keys=chance.randrange(10))


def nothing(_: World) -> None:
    """Nothing happens."""


def fat_slot(world: World) -> None:
    """Before the sweep, one slot has many keys, both matching and other ones."""
    count = 12_000
    world.add(
        [b"test:{%b}%d" % (TAGS[100], i) for i in range(count)],
        [b"user:{%b}%d" % (TAGS[100], i) for i in range(count)],
    )


def fat_slot_on_the_move(world: World) -> None:
    """A slot with many keys moves; in half of the runs it never arrives."""
    some = world.chance.choice((-1, 9_000))
    world.halfway.update(() if some < 0 else (100,))
    move_slot(100, world.nodes[0], world.nodes[1], (world.nodes[2],), keys=some)


def node_added(world: World) -> None:
    """A new primary joins and gets slots."""
    node = world.join()
    world.reshard(world.nodes[0], node, 40)


def fourth_node(world: World) -> None:
    """Before the sweep, a fourth primary has a few slots."""
    node = world.join()
    world.reshard(world.nodes[0], node, 60)


def node_removed(world: World) -> None:
    """A primary gives its slots away, leaves the cluster and ends."""
    node = world.nodes[6]
    world.reshard(node, world.nodes[2], 60)
    gone = world.id_of(node)
    for other in world.nodes[:6]:
        other.ask("CLUSTER", "FORGET", gone)
    world.kill(node)
    del world.nodes[6]


def everything_moves(world: World) -> None:
    """Slots move one by one between all primaries during a planned failover."""

    def fail_over() -> None:
        time.sleep(0.3)
        world.nodes[5].ask("CLUSTER", "FAILOVER")
        world.wait_for_promotion(world.nodes[5])

    aside = threading.Thread(target=fail_over)
    aside.start()
    for slot in world.chance.sample(range(5400), 30):
        _move_if_possible(slot, world.nodes[0], world.nodes[1])
    aside.join()


def _move_if_possible(slot: int, source: Node, target: Node) -> None:
    def moved() -> bool:
        move_slot(slot, source, target)
        return True

    until(moved)


ATOMIC_SLOTS = range(300)
"""The slots that the first node gives to the second."""


def atomic_move(world: World) -> None:
    """The servers move 300 slots by themselves: their owner changes once, when all keys have been copied."""
    world.begin_atomic_move(world.nodes[0], world.nodes[1], ATOMIC_SLOTS)
    until(lambda: {owners_seen_by(world.nodes[1])[slot] for slot in ATOMIC_SLOTS} == {world.nodes[1].port})


def atomic_move_cancelled(world: World) -> None:
    """Such a move is cancelled, most often before its end."""
    world.begin_atomic_move(world.nodes[0], world.nodes[1], ATOMIC_SLOTS)
    time.sleep(world.chance.uniform(0, 0.15))
    world.cancel_atomic_moves()


def source_killed_in_atomic_move(world: World) -> None:
    """The node that gives the slots is killed meanwhile, and its replica is promoted."""
    world.begin_atomic_move(world.nodes[0], world.nodes[1], ATOMIC_SLOTS)
    time.sleep(world.chance.uniform(0, 0.3))
    world.kill(world.nodes[0])
    world.wait_for_promotion(world.nodes[3])


def target_killed_in_atomic_move(world: World) -> None:
    """The node that gets the slots is killed meanwhile, and its replica is promoted."""
    world.begin_atomic_move(world.nodes[0], world.nodes[1], ATOMIC_SLOTS)
    time.sleep(world.chance.uniform(0, 0.3))
    world.kill(world.nodes[1])
    world.wait_for_promotion(world.nodes[4])


FAILOVER = 4 * NODE_TIMEOUT
"""The longest time in seconds until a killed primary's replica serves."""

SCENARIOS = {
    "planned failover": Scenario(planned_failover),
    "primary killed": Scenario(primary_killed, settle=FAILOVER),
    "killed and back": Scenario(killed_and_back, settle=FAILOVER),
    "late replica promoted": Scenario(late_replica_promoted, replica_falls_behind, settle=FAILOVER),
    "primary without replica killed": Scenario(
        primary_without_replica_killed, replica_killed, seconds=8.0, loses_keys=True
    ),
    "node paused": Scenario(node_paused, settle=FAILOVER),
    "majority paused": Scenario(majority_paused, settle=FAILOVER),
    "full restart": Scenario(full_restart, settle=FAILOVER),
    "reshard both ways": Scenario(reshard_both_ways, settle=2.0, on_every_server=True, by_redis_cli=True),
    "rebalance": Scenario(rebalance, make_uneven, settle=2.0, by_redis_cli=True),
    "half moved for good": Scenario(nothing, half_moved, on_every_server=True),
    "fat slot on the move": Scenario(fat_slot_on_the_move, fat_slot, on_every_server=True),
    "node added": Scenario(node_added, settle=2.0, by_redis_cli=True),
    "node removed": Scenario(node_removed, fourth_node, settle=2.0, by_redis_cli=True),
    "everything moves": Scenario(everything_moves, settle=2.0),
    "atomic move": Scenario(atomic_move, settle=2.0, atomic=True, on_every_server=True),
    "atomic move under a snapshot": Scenario(atomic_move, settle=2.0, atomic=True, during_snapshot=True),
    "atomic move cancelled": Scenario(atomic_move_cancelled, settle=2.0, atomic=True),
    "atomic move, source killed": Scenario(source_killed_in_atomic_move, settle=FAILOVER, atomic=True),
    "atomic move, target killed": Scenario(target_killed_in_atomic_move, settle=FAILOVER, atomic=True),
}
