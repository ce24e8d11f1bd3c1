"""A sweep with a snapshot deletes only the test's keys, on real servers."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from k6_sweep.cluster.connector import Connector
from k6_sweep.cluster.slots import TAGS, key_slot
from k6_sweep.demo.keys import write_keys
from k6_sweep.demo.servers import LocalCluster, Node, start_server, stop
from k6_sweep.errors import RefusedError
from k6_sweep.sweep.result import Progress, SweepReport
from k6_sweep.sweep.snapshot import Snapshot
from k6_sweep.sweep.sweeper import take_snapshot
from tests.integration.test_least_privilege import permit
from tests.integration.test_sweep_cluster import Interfering, binary_keys, matching
from tests.support import (
    KINDS,
    keys_of,
    limited,
    move_slot,
    quiet_log,
    settings_for,
    snapshot_settings_for,
    sweep_now,
    until,
)

PATTERNS = [f"{kind}:*" for kind in KINDS]


def snapshot_of(
    url: str, file: Path, *options: str, enough: Callable[[Progress], bool] = lambda _: False
) -> tuple[Snapshot, SweepReport]:
    """Take a snapshot; the deadline comes once `enough` returns true."""
    settings = snapshot_settings_for(url, file, *options, patterns=PATTERNS)
    deadline = time.monotonic() + 120

    def on_progress(progress: Progress) -> None:
        nonlocal deadline
        if enough(progress):
            deadline = min(deadline, time.monotonic())

    taken, report = take_snapshot(
        settings, Connector(settings), limited(lambda: deadline - time.monotonic()), quiet_log(), on_progress
    )
    taken.write(file)
    return taken, report


def test_only_what_came_later_goes(cluster: LocalCluster, tmp_path: Path) -> None:
    """Matching keys from before the snapshot stay, with any bytes in them, and later ones go."""
    existing = binary_keys(20_000, seed=11)
    write_keys(cluster, existing)
    taken, report = snapshot_of(cluster.url, tmp_path / "file")
    assert (report.status, report.deleted, report.matched) == ("complete", 0, len(matching(existing)))
    assert taken.size == len(matching(existing))
    later = binary_keys(20_000, seed=12) - existing
    write_keys(cluster, later)
    report = sweep_now(settings_for(cluster.url, "--preserve-existing", str(tmp_path / "file"), patterns=PATTERNS))
    assert keys_of(cluster.primaries) == existing | (later - matching(later))
    assert (report.status, report.deleted, report.preserved) == ("complete", len(matching(later)), taken.size)
    assert report.exact


@pytest.mark.every_server
def test_it_holds_after_resharding(small_cluster: LocalCluster, tmp_path: Path) -> None:
    """Keys from before the snapshot stay, even if their slots move or have moved."""
    first, second, third = small_cluster.primaries
    existing = {b"stream:{%b}%d" % (TAGS[slot], i) for slot in range(40) for i in range(10)}
    write_keys(small_cluster, existing)
    snapshot_of(small_cluster.url, tmp_path / "file")
    later = {b"queue:{%b}%d" % (TAGS[slot], i) for slot in range(40) for i in range(5)}
    write_keys(small_cluster, later)
    for slot in range(20):
        move_slot(slot, first, second, (third,))
    for slot in range(20, 30):
        move_slot(slot, first, third, keys=7)
    report = sweep_now(
        settings_for(small_cluster.url, "--preserve-existing", str(tmp_path / "file"), patterns=PATTERNS)
    )
    assert keys_of(small_cluster.primaries) == existing
    assert (report.status, report.deleted, report.preserved) == ("complete", 200, 400)


@pytest.mark.every_server
def test_a_snapshot_while_slots_are_on_their_way_misses_nothing(small_cluster: LocalCluster, tmp_path: Path) -> None:
    """A snapshot records the keys of half-moved slots from both nodes."""
    first, second, _ = small_cluster.primaries
    existing = {b"stream:{%b}%d" % (TAGS[slot], i) for slot in range(20) for i in range(10)}
    write_keys(small_cluster, existing)
    for slot in range(20):
        move_slot(slot, first, second, keys=slot % 11)
    taken, report = snapshot_of(small_cluster.url, tmp_path / "file")
    assert (report.status, taken.size, taken.unproven) == ("complete", 200, ())
    assert all(key in taken for key in existing)


def test_slots_that_were_not_seen_are_not_swept(small_cluster: LocalCluster, tmp_path: Path) -> None:
    """The sweep leaves slots alone that the snapshot does not cover, and reports them."""
    first, *others = small_cluster.primaries
    for node in small_cluster.primaries:
        node.ask("CLUSTER", "DELSLOTS", 17, 18)
    taken, report = snapshot_of(
        small_cluster.url, tmp_path / "file", enough=lambda progress: progress.slots_done == 16382
    )
    assert (report.status, taken.unproven) == ("incomplete", (17, 18))
    for node in (first, *others):
        if node is first:
            node.ask("CLUSTER", "ADDSLOTS", 17, 18)
    until(lambda: all(b"cluster_slots_assigned:16384" in node.ask("CLUSTER", "INFO") for node in (first, *others)))
    write_keys(small_cluster, [b"stream:{%b}" % TAGS[17], b"stream:{%b}" % TAGS[16]])
    report = sweep_now(
        settings_for(small_cluster.url, "--preserve-existing", str(tmp_path / "file"), patterns=PATTERNS)
    )
    assert (report.status, report.deleted, report.slots_done) == ("incomplete", 1, 16382)
    assert report.errors == ("slots not swept, because the snapshot is incomplete for them: 17-18",)
    assert keys_of(small_cluster.primaries) == {b"stream:{%b}" % TAGS[17]}


def test_slots_that_were_not_seen_are_not_swept_with_scan_either(cluster: LocalCluster, tmp_path: Path) -> None:
    """A user who may not list slots sweeps with SCAN, and leaves uncovered slots alone too."""
    existing = {b"stream:{%b}%d" % (TAGS[slot], i) for slot in (100, 200) for i in range(5)}
    taken, _ = snapshot_of(cluster.url, tmp_path / "empty")
    dataclasses.replace(taken, unproven=(100,)).write(tmp_path / "file")
    write_keys(cluster, existing)
    url = permit(cluster, "~* -@all +unlink +scan +wait +cluster|slots")
    report = sweep_now(settings_for(url, "--preserve-existing", str(tmp_path / "file"), patterns=PATTERNS))
    assert (report.status, report.deleted, report.slots_done) == ("incomplete", 5, None)
    assert keys_of(cluster.primaries) == {key for key in existing if key_slot(key) == 100}


@pytest.mark.every_server
def test_another_redis_is_refused(cluster: LocalCluster, standalone: Node, tmp_path: Path) -> None:
    """A sweep refuses the snapshot of another Redis and deletes nothing."""
    snapshot_of(f"redis://127.0.0.1:{standalone.port}", tmp_path / "file")
    write_keys(cluster, [b"stream:1"])
    with pytest.raises(RefusedError, match="another Redis"):
        sweep_now(settings_for(cluster.url, "--preserve-existing", str(tmp_path / "file"), patterns=PATTERNS))
    assert keys_of(cluster.primaries) == {b"stream:1"}


def test_more_keys_than_the_limit_are_refused(cluster: LocalCluster, tmp_path: Path) -> None:
    """A snapshot above the limit is refused before the test begins; one at the limit is taken."""
    write_keys(cluster, (b"stream:%d" % i for i in range(1001)))
    with pytest.raises(RefusedError, match="--snapshot-limit"):
        snapshot_of(cluster.url, tmp_path / "file", "--snapshot-limit", "1000")
    assert not (tmp_path / "file").exists()
    assert snapshot_of(cluster.url, tmp_path / "file", "--snapshot-limit", "1001")[0].size == 1001


@pytest.mark.every_server
def test_a_single_server(standalone: Node, tmp_path: Path) -> None:
    """On a single server the snapshot finds the keys with SCAN."""
    url = f"redis://127.0.0.1:{standalone.port}/2"
    link = standalone.link()
    link.ask("SELECT", 2)
    for number in range(500):
        link.ask("SET", f"stream:{number}", "x")
    taken, _ = snapshot_of(url, tmp_path / "file")
    assert taken.size == 500
    link.ask("SET", "stream:later", "x")
    report = sweep_now(settings_for(url, "--preserve-existing", str(tmp_path / "file"), patterns=PATTERNS))
    assert (report.status, report.deleted, report.preserved) == ("complete", 1, 500)
    assert link.ask("DBSIZE") == 500
    link.close()
    with pytest.raises(RefusedError, match="another Redis"):
        sweep_now(settings_for(url[:-1] + "3", "--preserve-existing", str(tmp_path / "file"), patterns=PATTERNS))


@pytest.mark.every_server
def test_another_server_at_the_same_address_is_refused(server_binary: str, tmp_path: Path) -> None:
    """A server that took the place of the snapshot's is another Redis: all of its keys would look new."""
    first = start_server(server_binary, tmp_path)
    url, port = f"redis://127.0.0.1:{first.port}", first.port
    try:
        snapshot_of(url, tmp_path / "file")
    finally:
        stop([first])
    second = start_server(server_binary, tmp_path, port=port)
    try:
        second.ask("SET", "stream:1", "x")
        with pytest.raises(RefusedError, match="another Redis"):
            sweep_now(settings_for(url, "--preserve-existing", str(tmp_path / "file"), patterns=PATTERNS))
        assert second.ask("DBSIZE") == 1
    finally:
        stop([second])


def test_a_slot_that_leaves_meanwhile_is_asked_again(small_cluster: LocalCluster, tmp_path: Path) -> None:
    """The snapshot is complete even if slots change their owner during it."""
    first, second, third = small_cluster.primaries
    existing = {b"stream:%d" % i for i in range(5000)}
    write_keys(small_cluster, existing)
    settings = snapshot_settings_for(small_cluster.url, tmp_path / "f", patterns=PATTERNS)

    def move() -> None:
        for slot in range(5000, 5010):
            move_slot(slot, first, second, (third,))

    connect = Interfering(Connector(settings), 8, move)
    deadline = time.monotonic() + 120
    taken, report = take_snapshot(
        settings, connect, limited(lambda: deadline - time.monotonic()), quiet_log(), lambda _: None
    )
    assert (report.status, taken.size) == ("complete", 5000)
    assert all(key in taken for key in existing)
