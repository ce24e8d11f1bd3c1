"""Keys that a broken-off migration left on a primary that does not own their slot, on real clusters."""

import threading
from contextlib import closing
from pathlib import Path

import pytest

from k6_sweep.cluster.connector import Connector
from k6_sweep.cluster.link import pack
from k6_sweep.cluster.slots import TAGS, format_ranges, key_slot
from k6_sweep.demo.keys import write_keys
from k6_sweep.demo.servers import LocalCluster, Node
from k6_sweep.sweep.sweeper import take_snapshot
from tests.blocks import blocks, shell
from tests.clusters import owners_seen_by
from tests.integration.test_least_privilege import LEAST, permit
from tests.support import keys_of, limited, move_slot, quiet_log, settings_for, snapshot_settings_for, sweep_now

pytestmark = pytest.mark.every_version

SLOT = 7
KEYS = {b"test:{%b}%d" % (TAGS[SLOT], number) for number in range(10)}


@pytest.fixture
def strayed(small_cluster: LocalCluster) -> LocalCluster:
    """Three primaries; the second one holds five of the slot's ten keys, and no node knows of a migration."""
    first, second, _ = small_cluster.primaries
    write_keys(small_cluster, [*KEYS, b"user:1", b"user:2", b"user:3"])
    move_slot(SLOT, first, second, keys=5)
    for node in (first, second):
        node.ask("CLUSTER", "SETSLOT", SLOT, "STABLE")
    return small_cluster


def not_proven(cluster: LocalCluster) -> set[int]:
    """Return the slots in which the strays may be: their slot, or if the node hides them, all that it does not own."""
    second = cluster.primaries[1]
    if second.ask("CLUSTER", "COUNTKEYSINSLOT", SLOT):
        return {SLOT}
    return {slot for slot, port in owners_seen_by(second).items() if port != second.port}


def bring_back(cluster: LocalCluster) -> set[bytes]:
    """Make the second primary the slot's owner; return the keys that clients then see."""
    first, second, third = cluster.primaries
    move_slot(SLOT, first, second, (third,))
    return {key for key in keys_of([second]) if key_slot(key) == SLOT}


def held(node: Node) -> int:
    """Return how many keys a node holds in all slots, hidden ones too."""
    return int(node.ask("DBSIZE"))


def test_they_are_named_and_stay(strayed: LocalCluster) -> None:
    """A sweep deletes all other keys, names the node and the slot, and is not complete."""
    second = strayed.primaries[1]
    before, slots = held(second), not_proven(strayed)
    report = sweep_now(settings_for(strayed.url))
    assert (report.status, report.deleted, report.remaining) == ("incomplete", 5, None)
    assert report.slots_done == 16384 - len(slots)
    kind = "holds matching keys" if slots == {SLOT} else "hides keys"
    assert f"{format_ranges(slots)} ({second.address} {kind}" in report.errors[0]
    assert held(second) == before
    assert bring_back(strayed)  # a sweep that had said complete would have been wrong


def test_the_pages_repair_brings_them_back(strayed: LocalCluster, tmp_path: Path) -> None:
    """The commands of docs/redis.md, on the node that k6-sweep names, bring all keys to the owner of their slot."""
    first, second, _ = strayed.primaries
    block = blocks()["docs/redis.md: redis-cli -h NODE"]
    owner = first.ask("CLUSTER", "MYID").decode()
    here = {
        "-h NODE": f"-p {second.port}",
        "SLOT": str(SLOT),
        f"ID-OF-THE-{SLOT}S-OWNER": owner,
        "OWNER 6379": f"127.0.0.1 {first.port}",
    }
    done = shell(block.but(**here), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert keys_of([first]) >= KEYS
    report = sweep_now(settings_for(strayed.url))
    assert (report.status, report.deleted) == ("complete", len(KEYS))


def test_they_are_found_with_the_least_permissions(strayed: LocalCluster) -> None:
    """Where the server lists the keys, no further permission is needed; where it hides them, DBSIZE."""
    hidden = not_proven(strayed) != {SLOT}
    report = sweep_now(settings_for(permit(strayed, LEAST)))
    assert report.status == ("complete" if hidden else "incomplete")
    report = sweep_now(settings_for(permit(strayed, f"{LEAST} +dbsize")))
    assert report.status == "incomplete"


def test_a_snapshot_does_not_cover_them(strayed: LocalCluster, tmp_path: Path) -> None:
    """After a snapshot, the strays' slots are not swept, so keys that come back from there stay."""
    slots = not_proven(strayed)
    settings = snapshot_settings_for(strayed.url, tmp_path / "file")
    taken, report = take_snapshot(settings, Connector(settings), limited(lambda: 120.0), quiet_log(), lambda _: None)
    taken.write(tmp_path / "file")
    assert (report.status, set(taken.unproven)) == ("incomplete", slots)
    back = bring_back(strayed)
    report = sweep_now(settings_for(strayed.url, "--preserve-existing", str(tmp_path / "file")))
    assert report.status == "incomplete"
    assert "the snapshot is incomplete for them" in report.errors[0]
    assert keys_of(strayed.primaries) & KEYS == back


def test_the_documented_repair_works(strayed: LocalCluster) -> None:
    """Marked as IMPORTING, the keys are visible to all tools again, and the sweep names the migration."""
    first, second, _ = strayed.primaries
    second.ask("CLUSTER", "SETSLOT", SLOT, "IMPORTING", first.ask("CLUSTER", "MYID"))
    first.ask("CLUSTER", "SETSLOT", SLOT, "MIGRATING", second.ask("CLUSTER", "MYID"))
    assert second.ask("CLUSTER", "COUNTKEYSINSLOT", SLOT) == 5
    report = sweep_now(settings_for(strayed.url))
    assert (report.status, report.deleted) == ("complete", 10)


def test_busy_clients_are_no_strays(small_cluster: LocalCluster) -> None:
    """While a client writes and deletes other keys everywhere, nothing looks like a stray key."""
    write_keys(small_cluster, (b"user:%d" % number for number in range(3000)))
    ended = threading.Event()

    def write_and_delete(node: Node, key: bytes) -> None:
        with closing(node.link()) as link:
            while not ended.is_set():
                link.pipeline([pack((b"SET", key, b"x")), pack((b"UNLINK", key))] * 20)

    owners = owners_seen_by(small_cluster.nodes[0])
    clients = [
        threading.Thread(target=write_and_delete, args=(node, b"user:{%b}" % TAGS[slot]))
        for node in small_cluster.primaries
        for slot in [next(slot for slot, port in owners.items() if port == node.port)]
    ]
    for client in clients:
        client.start()
    try:
        report = sweep_now(settings_for(small_cluster.url))
    finally:
        ended.set()
        for client in clients:
            client.join()
    assert (report.status, report.slots_done) == ("complete", 16384)
