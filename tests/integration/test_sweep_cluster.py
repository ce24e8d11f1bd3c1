"""The sweep on a real Redis Cluster."""

import os
import random
import re
import signal
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from k6_sweep.cluster.connector import Connector
from k6_sweep.cluster.link import Link, pack
from k6_sweep.cluster.slots import TAGS, key_slot
from k6_sweep.demo.keys import write_keys
from k6_sweep.demo.servers import CLUSTER_OPTIONS, LocalCluster, local_cluster, start_server, stop
from k6_sweep.errors import DeniedError, RefusedError, UnreachableError
from k6_sweep.settings.values import Address
from k6_sweep.sweep.result import Progress
from k6_sweep.sweep.sweeper import sweep
from tests.integration.test_least_privilege import LEAST, permit
from tests.support import (
    KINDS,
    STOPPED,
    Pipeline,
    keys_of,
    limited,
    move_slot,
    quiet_log,
    settings_for,
    step_between,
    sweep_now,
    sweep_until,
    until,
)


def binary_keys(count: int, seed: int) -> set[bytes]:
    """Return keys with all kinds of bytes; the patterns of KINDS match about half of them."""
    chance = random.Random(seed)
    starts = [f"{kind}:".encode() for kind in KINDS] + [b"user:", b"queue", b"streams:", b"\xff\x00:", b"session:{"]
    return {chance.choice(starts) + chance.randbytes(chance.randrange(1, 12)) for _ in range(count)}


def matching(keys: set[bytes]) -> set[bytes]:
    return {key for key in keys if key.startswith(tuple(f"{kind}:".encode() for kind in KINDS))}


@pytest.mark.every_server
def test_exactly_the_matching_keys_go(cluster: LocalCluster) -> None:
    """A sweep deletes exactly the matching keys, whatever bytes the keys have."""
    keys = binary_keys(30_000, seed=1)
    write_keys(cluster, keys)
    report = sweep_now(settings_for(cluster.url, patterns=[f"{kind}:*" for kind in KINDS]))
    assert keys_of(cluster.primaries) == keys - matching(keys)
    assert report.status == "complete"
    assert report.deleted == report.matched == len(matching(keys))
    assert report.remaining == 0
    assert report.exact
    assert report.slots_done == report.slots_asked == 16384
    assert report.passes == 2
    assert report.errors == ()


def test_progress_is_reported(cluster: LocalCluster) -> None:
    """A sweep reports the finished slots of its pass, and this number never falls within a pass."""
    write_keys(cluster, (f"test:{i}".encode() for i in range(20_000)))
    told: list[Progress] = []
    report = sweep_now(settings_for(cluster.url, "--max-rate", "20000"), on_progress=told.append)
    first = [progress for progress in told if progress.pass_number == 1]
    assert len(first) > 2
    assert [progress.slots_done for progress in first] == sorted(progress.slots_done for progress in first)
    assert 0 < first[1].slots_done < first[-1].slots_done == 16384
    assert told[-1].deleted == report.deleted == 20_000


def test_counts_by_pattern_and_shard(cluster: LocalCluster) -> None:
    """A key counts for the first pattern that matches it, and for the primary that held it."""
    write_keys(cluster, (f"queue:{'a' if i % 3 else 'b'}{i}".encode() for i in range(3000)))
    report = sweep_now(settings_for(cluster.url, patterns=["queue:b*", "queue:*", "queue:a1*"]))
    assert report.patterns == {"queue:b*": 1000, "queue:*": 2000, "queue:a1*": 0}
    assert len(report.shards) == 3
    assert sum(report.shards.values()) == 3000
    assert all(report.shards.values())


def test_a_dry_run_deletes_nothing(cluster: LocalCluster) -> None:
    """A dry run counts what a sweep would delete, and deletes nothing."""
    keys = binary_keys(5000, seed=2)
    write_keys(cluster, keys)
    report = sweep_now(settings_for(cluster.url, "--dry-run", patterns=[f"{kind}:*" for kind in KINDS]))
    assert keys_of(cluster.primaries) == keys
    assert report.status == "dry-run"
    assert (report.deleted, report.matched, report.remaining) == (0, len(matching(keys)), len(matching(keys)))


def test_kept_keys_stay(cluster: LocalCluster) -> None:
    """A key that a keep pattern matches stays and is counted, even if other patterns match it."""
    write_keys(cluster, (f"test:{'keep' if i % 4 == 0 else 'go'}:{i}".encode() for i in range(2000)))
    report = sweep_now(settings_for(cluster.url, "--keep", "test:keep:*"))
    assert len(keys_of(cluster.primaries)) == report.preserved == 500
    assert report.deleted == 1500
    assert report.status == "complete"


@pytest.mark.every_version
def test_a_fat_slot_is_emptied_behind_keepers(cluster: LocalCluster) -> None:
    """A slot with more keys than one list is swept completely, whichever keys come first."""
    write_keys(cluster, (f"{'keep' if i < 11_000 else 'test'}:{{tag}}:{i}".encode() for i in range(25_000)))
    report = sweep_now(settings_for(cluster.url))
    assert report.status == "complete"
    assert report.deleted == 14_000
    assert {key[:4] for key in keys_of(cluster.primaries)} == {b"keep"}


def test_a_fat_slot_is_counted_whole_in_a_dry_run(cluster: LocalCluster) -> None:
    """A dry run counts each key of a fat slot once."""
    write_keys(cluster, (f"test:{{tag}}:{i}".encode() for i in range(12_000)))
    assert sweep_now(settings_for(cluster.url, "--dry-run")).matched == 12_000


def test_pinned_patterns_visit_only_their_slots(cluster: LocalCluster) -> None:
    """If every pattern has a hash tag in its literal start, no other slot is asked."""
    write_keys(cluster, [b"test:{a}:1", b"test:{b}:1", b"test:{c}:1", b"exact"])
    report = sweep_now(settings_for(cluster.url, patterns=["test:{a}:*", "test:{b}:*", "exact"]))
    assert report.slots_asked == 3
    assert report.deleted == 3
    assert keys_of(cluster.primaries) == {b"test:{c}:1"}


@pytest.mark.every_server
def test_expired_keys_do_not_remain(cluster: LocalCluster) -> None:
    """Keys that expire before their delete are not in `deleted`, and none remains."""
    write_keys(cluster, (f"test:{i}".encode() for i in range(100)))
    owner = cluster.primaries[0]
    for index in range(200):
        owner.ask("SET", b"test:{%b}%d" % (TAGS[index], index), "x", "PX", 1 + index // 4)
    report = sweep_now(settings_for(cluster.url))
    assert report.status == "complete"
    assert 100 <= report.deleted <= report.matched
    assert report.remaining == 0
    assert keys_of(cluster.primaries) == set()


@pytest.mark.every_server
def test_a_cluster_is_found_by_its_socket(server_binary: str) -> None:
    """The Unix socket of one node leads to the whole cluster."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "redis.sock"
        with local_cluster(server_binary, primaries=2) as cluster:
            node = start_server(server_binary, cluster.folder, CLUSTER_OPTIONS | {"unixsocket": str(path)})
            try:
                node.ask("CLUSTER", "MEET", "127.0.0.1", cluster.nodes[0].port)
                until(lambda: b"cluster_state:ok" in node.ask("CLUSTER", "INFO"))
                write_keys(cluster, (f"test:{i}".encode() for i in range(300)))
                report = sweep_now(settings_for(f"unix://{path}"))
            finally:
                stop([node])
    assert (report.status, report.deleted, len(report.shards)) == ("complete", 300, 2)


@pytest.mark.every_server
@pytest.mark.parametrize("seed_node", [0, 3], ids=["primary", "replica"])
def test_any_node_is_enough_to_find_the_cluster(cluster: LocalCluster, seed_node: int) -> None:
    """The address of any node, even a replica, leads to every shard."""
    write_keys(cluster, (f"test:{i}".encode() for i in range(300)))
    url = f"redis://127.0.0.1:{cluster.nodes[seed_node].port}"
    assert sweep_now(settings_for(url)).deleted == 300


def test_more_than_max_keys_is_refused_before_the_first_delete(cluster: LocalCluster) -> None:
    """One key above --max-keys means that nothing is deleted; the limit itself is allowed."""
    write_keys(cluster, (f"test:{i}".encode() for i in range(500)))
    with pytest.raises(RefusedError, match="500 keys match, more than --max-keys 499"):
        sweep_now(settings_for(cluster.url, "--max-keys", "499"))
    assert len(keys_of(cluster.primaries)) == 500
    assert sweep_now(settings_for(cluster.url, "--max-keys", "500")).deleted == 500


def test_later_passes_stay_within_max_keys(cluster: LocalCluster) -> None:
    """The sweep deletes no later key beyond --max-keys, and reports it."""
    write_keys(cluster, (f"test:{i}".encode() for i in range(400)))
    written = False

    def write_more(_: object) -> None:
        nonlocal written
        if not written and not sum(node.ask("DBSIZE") for node in cluster.primaries):
            written = True
            write_keys(cluster, (f"test:late{i}".encode() for i in range(400)))

    report = sweep_now(settings_for(cluster.url, "--max-keys", "500", "--settle", "0.5"), on_progress=write_more)
    assert written
    assert report.status == "incomplete"
    assert 400 <= report.deleted <= 500
    assert "--max-keys" in report.errors[0]


def test_the_marker_is_required_and_never_swept(cluster: LocalCluster) -> None:
    """Without the marker nothing is deleted; with it everything else, even if a pattern matches the marker."""
    write_keys(cluster, [b"test:1", b"test:2"])
    settings = settings_for(cluster.url, "--require-marker", "test:this-is-[staging]*")
    with pytest.raises(RefusedError, match="does not hold the key"):
        sweep_now(settings)
    write_keys(cluster, [b"test:this-is-[staging]*", b"test:this-is-staging1"])
    report = sweep_now(settings)
    assert keys_of(cluster.primaries) == {b"test:this-is-[staging]*"}
    assert report.deleted == 3


def test_late_writers_are_waited_for(cluster: LocalCluster) -> None:
    """Keys that are written after the first pass within the settle time are swept too."""
    write_keys(cluster, (f"test:{i}".encode() for i in range(100)))
    batches = iter(range(3))

    def write_more(_: object) -> None:
        if not keys_of(cluster.primaries) and (batch := next(batches, None)) is not None:
            write_keys(cluster, (f"test:late{batch}:{i}".encode() for i in range(50)))

    report = sweep_now(settings_for(cluster.url, "--settle", "0.4"), on_progress=write_more)
    assert report.status == "complete"
    assert report.deleted == 250
    assert keys_of(cluster.primaries) == set()


def test_time_up_is_incomplete(cluster: LocalCluster) -> None:
    """Without time the report is incomplete and names the unproven slots."""
    write_keys(cluster, (f"test:{i}".encode() for i in range(100)))
    looks = iter([1.0] * 5)
    settings = settings_for(cluster.url)
    report = sweep(settings, Connector(settings), limited(lambda: next(looks, 0.0)), quiet_log(), lambda _: None)
    assert report.status == "incomplete"
    assert re.search(r"slots not swept completely: \S+-16383", " ".join(report.errors))
    assert STOPPED in report.errors


class Interfering:
    """Connects like the real function, and calls an action before the n-th use of a link."""

    def __init__(self, real: Connector, moment: int, action: Callable[[], None]) -> None:
        self._real = real
        self._left = moment
        self._action = action

    def __call__(self, address: Address) -> Link:
        return step_between(self._real(address), self._around)

    def _around(self, pipeline: Pipeline, commands: Sequence[bytes]) -> list[Any]:
        self._left -= 1
        if self._left == 0:
            self._action()
        return pipeline(commands)


def test_a_dropped_connection_is_opened_again(cluster: LocalCluster) -> None:
    """After lost connections the sweep goes on, and `exact` is true only if the count is right."""
    write_keys(cluster, (f"test:{i}".encode() for i in range(20_000)))
    settings = settings_for(cluster.url)

    def kill() -> None:
        for node in cluster.primaries:
            node.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    report = sweep_now(settings, Interfering(Connector(settings), 60, kill))
    assert report.status == "complete"
    assert keys_of(cluster.primaries) == set()
    assert report.deleted <= 20_000
    assert report.deleted == 20_000 or not report.exact


def test_a_stranger_at_a_nodes_address_is_not_swept(cluster: LocalCluster, small_cluster: LocalCluster) -> None:
    """If another cluster's node has a primary's address, its keys stay untouched."""
    write_keys(cluster, (f"test:{i}".encode() for i in range(3000)))
    strangers = {f"test:{i}".encode() for i in range(3000)}
    write_keys(small_cluster, strangers)
    settings = settings_for(cluster.url)
    real, lost = Connector(settings), cluster.primaries[1].port

    tries = 0

    def connect(address: Address) -> Link:
        nonlocal tries
        tries += address.port == lost
        return real(small_cluster.primaries[1].address if address.port == lost else address)

    report = sweep_until(settings, lambda _: tries > 2, connect)
    assert report.status == "incomplete"
    assert any("belongs to another cluster" in error for error in report.errors)
    assert keys_of(small_cluster.primaries) == strangers


def test_one_dead_target_does_not_hold_up_other_slots(small_cluster: LocalCluster) -> None:
    """A slot that moves to a dead node stays open; fat slots and those with a living target are swept."""
    first, second, third = small_cluster.primaries
    keys = [b"test:{%b}%d" % (TAGS[slot], i) for slot in (100, 102) for i in range(10)]
    keepers = [b"user:{%b}%d" % (TAGS[101], i) for i in range(6000)]
    write_keys(small_cluster, [*keys, *keepers, b"test:{%b}" % TAGS[101]])
    move_slot(100, first, second, keys=5)
    move_slot(102, first, third, keys=5)
    settings = settings_for(small_cluster.url)
    real = Connector(settings)

    def connect(address: Address) -> Link:
        return real(Address(address.host, 1) if address == second.address else address)

    def others_are_done(_: Progress) -> bool:
        return {key_slot(key) for key in keys_of([first, third]) if key.startswith(b"test:")} <= {100}

    report = sweep_until(settings, others_are_done, connect)
    assert report.status == "incomplete"
    left = {key for key in keys_of([first, third]) if key.startswith(b"test:")}
    assert {key_slot(key) for key in left} <= {100}


def test_a_connect_that_hangs_does_not_hold_up_the_report(cluster: LocalCluster) -> None:
    """The report comes in time even if a name lookup hangs and cannot be stopped."""
    write_keys(cluster, (f"test:{i}".encode() for i in range(300)))
    settings = settings_for(cluster.url)
    real, hanging, released = Connector(settings), cluster.primaries[1].port, threading.Event()

    def connect(address: Address) -> Link:
        if address.port == hanging:
            released.wait()
        return real(address)

    try:
        report = sweep_until(settings, lambda progress: progress.deleted > 0, connect)
        assert not released.is_set()
    finally:
        released.set()
    assert report.status == "incomplete"
    assert f"127.0.0.1:{hanging} did not answer in time" in report.errors
    assert report.deleted > 0


@pytest.mark.every_server
def test_slots_that_move_away_are_followed(small_cluster: LocalCluster) -> None:
    """Slots that change their owner during the sweep are swept at the new owner."""
    first, second, third = small_cluster.primaries
    write_keys(small_cluster, (f"test:{i}".encode() for i in range(20_000)))
    settings = settings_for(small_cluster.url)

    def move() -> None:
        for slot in range(5000, 5010):
            move_slot(slot, first, second, (third,))

    report = sweep_now(settings, Interfering(Connector(settings), 8, move))
    assert report.status == "complete"
    assert keys_of(small_cluster.primaries) == set()
    assert report.deleted == 20_000
    assert not report.exact
    assert "slots changed their owner, so some deletes may not be counted: 5000-5009" in report.errors


@pytest.mark.every_version
def test_half_moved_slots_are_worked_off_on_both_nodes(small_cluster: LocalCluster) -> None:
    """A slot that stays half-moved is swept on both nodes, and only its matching keys go."""
    first, second, _ = small_cluster.primaries
    keys = {
        f"{kind}:{{{TAGS[slot].decode()}}}:{i}" for kind in ("test", "user") for slot in range(20) for i in range(8)
    }
    write_keys(small_cluster, (key.encode() for key in keys))
    for slot in range(20):
        move_slot(slot, first, second, keys=slot % 17)
    settings = settings_for(small_cluster.url)
    dry = sweep_now(settings_for(small_cluster.url, "--dry-run"))
    assert (dry.status, dry.matched) == ("dry-run", 160)
    report = sweep_now(settings)
    assert report.status == "complete"
    assert report.deleted == 160
    assert keys_of(small_cluster.primaries) == {key.encode() for key in keys if key.startswith("user")}


@pytest.mark.every_server
def test_keys_that_the_cluster_has_lost_sight_of_are_named(small_cluster: LocalCluster) -> None:
    """If a slot's owner forgot its migration, the slot does not count as swept, and the report has the reason."""
    first, second, _ = small_cluster.primaries
    write_keys(small_cluster, (b"test:{%b}%d" % (TAGS[slot], i) for slot in (7, 8) for i in range(10)))
    move_slot(7, first, second, keys=5)
    first.ask("CLUSTER", "SETSLOT", 7, "STABLE")
    report = sweep_until(settings_for(small_cluster.url), lambda progress: progress.slots_done == 16384)
    assert report.status == "incomplete"
    assert report.slots_done == 16383
    assert re.search(r"not swept completely: 7 \(IMPORTING on a node.*move the keys", report.errors[0])
    assert {key_slot(key) for key in keys_of([second]) if key.startswith(b"test:")} == {7}
    second.ask("CLUSTER", "SETSLOT", 7, "STABLE")


@pytest.mark.every_server
def test_keys_on_a_primary_without_slots_are_named(small_cluster: LocalCluster, server_binary: str) -> None:
    """If a new primary, which owns no slot yet, holds keys of a forgotten migration, their slot is not swept."""
    first = small_cluster.primaries[0]
    write_keys(small_cluster, (b"test:{%b}%d" % (TAGS[7], i) for i in range(10)))
    new = start_server(server_binary, small_cluster.folder, CLUSTER_OPTIONS)
    try:
        new.ask("CLUSTER", "MEET", "127.0.0.1", first.port)
        nodes = (*small_cluster.nodes, new)
        until(lambda: all(node.ask("CLUSTER", "NODES").count(b" connected") == 4 for node in nodes))
        until(lambda: b"cluster_state:ok" in new.ask("CLUSTER", "INFO"))
        move_slot(7, first, new, keys=5)
        first.ask("CLUSTER", "SETSLOT", 7, "STABLE")
        report = sweep_until(settings_for(small_cluster.url), lambda progress: progress.slots_done == 16384)
    finally:
        stop([new])
    assert (report.status, report.slots_done) == ("incomplete", 16383)
    assert re.search(r"not swept completely: 7 \(IMPORTING on a node.*move the keys", report.errors[0])


@pytest.mark.every_server
def test_uncovered_slots_are_named(small_cluster: LocalCluster) -> None:
    """Without one primary the report is incomplete and names its slots, and the others' keys are swept."""
    write_keys(small_cluster, (f"test:{i}".encode() for i in range(3000)))
    lost = small_cluster.primaries[2]
    lost.process.kill()
    lost.process.wait()
    report = sweep_until(settings_for(small_cluster.url), lambda progress: progress.slots_done == 16384 - 5462)
    assert report.status == "incomplete"
    assert report.slots_done == 16384 - 5462
    assert any("10922-16383" in error for error in report.errors)
    assert keys_of(small_cluster.primaries[:2]) == set()
    assert report.deleted > 0


@pytest.mark.every_server
def test_slots_without_an_owner_are_named(small_cluster: LocalCluster) -> None:
    """The report names slots without an owner."""
    small_cluster.primaries[0].ask("CLUSTER", "DELSLOTS", 17, 18)
    for node in small_cluster.primaries[1:]:
        node.ask("CLUSTER", "DELSLOTS", 17, 18)
    report = sweep_until(settings_for(small_cluster.url), lambda progress: progress.slots_done == 16382)
    assert report.status == "incomplete"
    assert "17-18" in report.errors[0]


@pytest.mark.every_server
def test_an_unacknowledged_delete_is_not_exact(small_cluster: LocalCluster, server_binary: str) -> None:
    """If a replica does not acknowledge the deletes, the counts are not exact."""
    replica = start_server(server_binary, small_cluster.folder, {"cluster-enabled": "yes"})
    try:
        primary = small_cluster.primaries[0]
        replica.ask("CLUSTER", "MEET", "127.0.0.1", primary.port)
        until(lambda: len(replica.ask("CLUSTER", "NODES").splitlines()) == 4)
        replica.ask("CLUSTER", "REPLICATE", primary.ask("CLUSTER", "MYID"))
        until(lambda: b"master_link_status:up" in replica.ask("INFO", "replication"))
        until(lambda: any(len(entry) > 3 for entry in primary.ask("CLUSTER", "SLOTS")))
        write_keys(small_cluster, (f"test:{i}".encode() for i in range(300)))
        os.kill(replica.process.pid, signal.SIGSTOP)
        report = sweep_now(settings_for(small_cluster.url))
    finally:
        stop([replica])
    assert report.status == "complete"
    assert not report.exact
    assert any("no replica" in error for error in report.errors)


@pytest.mark.every_server
def test_scan_where_listing_slots_is_denied(cluster: LocalCluster) -> None:
    """A user who may not list slots sweeps with SCAN, just as completely."""
    keys = binary_keys(6000, seed=3)
    write_keys(cluster, keys)
    url = permit(cluster, "~* -@all +unlink +scan +wait +cluster|slots")
    settings = settings_for(url, patterns=[f"{kind}:*" for kind in KINDS])
    report = sweep_now(settings)
    assert report.status == "complete"
    assert report.slots_done is None
    assert report.deleted == len(matching(keys))
    assert keys_of(cluster.primaries) == keys - matching(keys)


@pytest.mark.every_server
def test_a_missing_permission_is_named(cluster: LocalCluster) -> None:
    """Without UNLINK nothing is deleted, and the error names the denied command."""
    write_keys(cluster, [b"test:1"])
    url = permit(cluster, LEAST.replace("+unlink", ""))
    with pytest.raises(DeniedError, match=r"(?i)unlink"):
        sweep_now(settings_for(url))
    assert keys_of(cluster.primaries) == {b"test:1"}


@pytest.mark.every_server
def test_a_wrong_password_is_final(cluster: LocalCluster) -> None:
    """A wrong password fails at once with the server and the user in the error, but no password."""
    url = permit(cluster, LEAST).replace("secret", "wrong-one")
    with pytest.raises(DeniedError, match=r'cannot log in to 127\.0\.0\.1:\d+ as "sweeper"') as caught:
        sweep_now(settings_for(url))
    assert "wrong-one" not in str(caught.value)


def test_an_address_without_a_server() -> None:
    """An address without a server is tried until the deadline, and then counts as unreachable."""
    with pytest.raises(UnreachableError, match=r"cannot reach 127\.0\.0\.1:1"):
        sweep_now(settings_for("redis://127.0.0.1:1"), seconds=1)


def test_probes_leave_nothing_behind(cluster: LocalCluster) -> None:
    """A sweep never writes its probes: an empty cluster stays empty."""
    sweep_now(settings_for(cluster.url))
    sweep_now(settings_for(cluster.url, "--dry-run"))
    assert sum(node.ask("DBSIZE") for node in cluster.primaries) == 0


@pytest.mark.every_server
def test_slots_agree_with_the_server(cluster: LocalCluster) -> None:
    """k6-sweep computes the same slots as the server, also for hash tags and binary keys."""
    link = cluster.nodes[0].link()
    keys = [*binary_keys(500, seed=4), b"", b"{}", b"{}a", b"a{b}c", b"{{a}}", b"a{}{b}", b"{a", b"}a{b}"]
    replies = link.pipeline([pack((b"CLUSTER", b"KEYSLOT", key)) for key in keys])
    link.close()
    assert replies == [key_slot(key) for key in keys]
