"""The register of tests in real servers: a cluster whose slots move, a single server, one without memory."""

from dataclasses import replace

import pytest

from k6_sweep.cluster.own_keys import MARK
from k6_sweep.cluster.register import Register
from k6_sweep.cluster.slots import key_slot
from k6_sweep.commands.lookout import register_of
from k6_sweep.coordination import Entry
from k6_sweep.demo.keys import write_keys
from k6_sweep.demo.servers import LocalCluster, Node
from k6_sweep.errors import DeniedError
from k6_sweep.patterns import Pattern
from tests.support import keys_of, move_slot, settings_for, sweep_now

pytestmark = pytest.mark.every_server

PATTERNS = ("test:*", "t?st:[ab]:*:x", "{tag}:*", "exact")


def entry(run: str) -> Entry:
    return Entry(run, f"load/{run}", 1000.0, tuple(map(Pattern, PATTERNS)))


def live_through(register: Register, other: Register) -> None:
    """Let one test meet another one, end, and be swept by it."""
    assert register.enter(entry("a")) == [entry("a")]
    assert sorted(each.run for each in other.enter(entry("b"))) == ["a", "b"]
    assert sorted(each.state for each in register.owe(replace(entry("a"), owed=True))) == ["owed", "running"]
    assert {each.run for each in other.owe(replace(entry("b"), owed=True)) if each.owed} == {"a", "b"}
    other.remove([replace(entry(run), owed=True) for run in "ab"])
    assert register.read() == []


def test_tests_meet_in_a_cluster(cluster: LocalCluster) -> None:
    """Two tests find each other, and the sets are gone when both have ended; a sweep meanwhile leaves them."""
    write_keys(cluster, [b"test:1", b"t1st:a::x"])
    settings = settings_for(cluster.url, patterns=PATTERNS)
    register = register_of(settings)
    register.enter(entry("a"))
    own = {key for key in keys_of(cluster.primaries) if MARK in key}
    assert len(own) == 4
    report = sweep_now(settings_for(cluster.url, "--allow-broad-patterns", patterns=("*",)))
    assert (report.status, report.deleted, keys_of(cluster.primaries)) == ("complete", 2, own)
    register.remove([entry("a")])
    live_through(register, register_of(settings))
    assert keys_of(cluster.primaries) == set()


@pytest.mark.parametrize("keys", [0, 1, -1], ids=["before its keys", "between its keys", "after its keys"])
def test_the_register_moves_with_its_slot(small_cluster: LocalCluster, keys: int) -> None:
    """While the register's slot moves, tests still meet."""
    slot = key_slot(MARK)
    settings = settings_for(small_cluster.url, patterns=PATTERNS)
    source = next(node for node in small_cluster.primaries if _owns(node, slot))
    target, *others = (node for node in small_cluster.primaries if node is not source)
    register_of(settings).enter(entry("c"))
    move_slot(slot, source, target, tuple(others), keys=keys)
    assert [each.run for each in register_of(settings).read()] == ["c"]
    register_of(settings).remove([entry("c")])
    live_through(register_of(settings), register_of(settings))


def _owns(node: Node, slot: int) -> bool:
    shards = node.ask("CLUSTER", "SLOTS")
    return any(first <= slot <= last and primary[1] == node.port for first, last, primary, *_ in shards)


def test_tests_meet_in_a_single_server(standalone: Node) -> None:
    """Two tests find each other in the database that both use, and in no other one."""
    url = f"redis://127.0.0.1:{standalone.port}/3"
    settings = settings_for(url, patterns=PATTERNS)
    register_of(settings).enter(entry("elsewhere"))
    assert register_of(settings_for(url.replace("/3", "/4"), patterns=PATTERNS)).read() == []
    register_of(settings).remove([entry("elsewhere")])
    live_through(register_of(settings), register_of(settings))
    assert standalone.ask("DBSIZE") == 0


def test_a_server_without_memory(standalone: Node) -> None:
    """A full Redis refuses a new entry in its own words; entries can still be read and removed."""
    settings = settings_for(f"redis://127.0.0.1:{standalone.port}", patterns=PATTERNS)
    register_of(settings).enter(entry("a"))
    standalone.ask("CONFIG", "SET", "maxmemory", "1")
    for try_it in (register_of(settings).try_out, lambda: register_of(settings).enter(entry("b"))):
        with pytest.raises(DeniedError, match="OOM command not allowed"):
            try_it()
    assert [each.run for each in register_of(settings).read()] == ["a"]
    register_of(settings).remove([entry("a")])
    assert standalone.ask("DBSIZE") == 0
