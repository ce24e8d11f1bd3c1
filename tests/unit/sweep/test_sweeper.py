"""A whole sweep: its guards, its passes until nothing is left, the truth of its report; and the snapshot before it."""

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from redis import exceptions

from k6_sweep.cluster.endpoint_keys import endpoint_key
from k6_sweep.cluster.lock import LOCK_NAME
from k6_sweep.cluster.slots import TAGS
from k6_sweep.errors import DeniedError, RefusedError, UnreachableError
from k6_sweep.patterns import Pattern
from k6_sweep.status import Status
from k6_sweep.sweep.result import Progress, SweepReport
from k6_sweep.sweep.snapshot import Snapshot
from k6_sweep.sweep.sweeper import sweep, take_snapshot
from tests.support import STOPPED, limited, quiet_log, settings_for, snapshot_settings_for
from tests.unit.cluster.fake_redis import ALWAYS, FakeCluster, Happens, key
from tests.unit.sweep.fakes import Deadline

OF_A, OF_B, OF_C = SLOTS = (10, 6000, 12000)
"""A slot of each node; the patterns reach no others, so a pass asks for these three."""
PATTERNS = tuple(f"test:{{{TAGS[slot].decode()}}}:*" for slot in SLOTS)
LATE = key(OF_B, 99)
"""A key that is written during the sweep."""


def filled(replicas: int = 0) -> FakeCluster:
    """Return three nodes with ten keys in each of the slots, and one key that stays."""
    cluster = FakeCluster(replicas=replicas)
    cluster.fill(b"user:1", *(key(slot, number) for slot in SLOTS for number in range(10)))
    return cluster


def swept(
    cluster: FakeCluster,
    *options: str,
    remaining: Callable[[], float] = lambda: 60.0,
    on_progress: Callable[[Progress], None] = lambda _: None,
    patterns: tuple[str, ...] = PATTERNS,
) -> SweepReport:
    settings = settings_for(cluster.url, *options, patterns=patterns)
    return sweep(settings, cluster.connect, limited(remaining), quiet_log(), on_progress)


def after_pass(cluster: FakeCluster, number: int, happens: Happens, times: int = 1) -> None:
    """Let something happen when the topology is read after a pass, if there was one round in each."""
    cluster.on(b"SLOTS", happens, node="a", skip=number + 1, times=times)  # read at the start, and for a's own link


def write_late(cluster: FakeCluster) -> Callable[[], None]:
    return lambda: cluster.fill(LATE)


# Passes.


def test_a_pass_that_finds_nothing_ends_the_sweep() -> None:
    """The first pass deletes, the second one proves that nothing is left: the report is complete and exact."""
    cluster = filled()
    report = swept(cluster)
    assert (report.status, report.exact, report.passes, report.retries) == (Status.COMPLETE, True, 2, 0)
    assert (report.deleted, report.matched, report.remaining, report.errors) == (30, 30, 0, ())
    assert report.patterns == dict.fromkeys(PATTERNS, 10)
    assert report.shards == {"a:6379": 10, "b:6379": 10, "c:6379": 10}
    assert (report.slots_done, report.slots_asked) == (3, 3)
    assert cluster.keys == {b"user:1"}


def test_late_writers_make_another_pass() -> None:
    """Keys that are written during the sweep are swept too: passes go on until one finds none."""
    cluster = filled()
    after_pass(cluster, 1, write_late(cluster))
    after_pass(cluster, 2, write_late(cluster))
    report = swept(cluster)
    assert (report.status, report.passes, report.deleted, report.remaining) == (Status.COMPLETE, 4, 32, 0)
    assert cluster.keys == {b"user:1"}


def test_a_writer_that_never_ends_ends_at_the_deadline() -> None:
    """If every pass finds keys until the deadline, the report is incomplete and names the late writers."""
    cluster, deadline = filled(), Deadline()
    cluster.on(b"SLOTS", write_late(cluster), node="a", times=ALWAYS)
    after_pass(cluster, 3, deadline.come)
    report = swept(cluster, remaining=deadline)
    assert (report.status, report.passes, report.deleted, report.remaining) == (Status.INCOMPLETE, 3, 33, 1)
    assert "a client still writes matching keys" in " ".join(report.errors)


def test_without_verification_one_pass_is_enough() -> None:
    """`--no-verify` ends after the first pass that proved all slots; what remains is then not known."""
    report = swept(filled(), "--no-verify")
    assert (report.status, report.passes, report.deleted, report.remaining) == (Status.COMPLETE, 1, 30, None)


@pytest.mark.parametrize("broken", [True, False], ids=["a connection broke", "a slot moved"])
def test_without_verification_a_doubt_still_brings_another_pass(broken: bool) -> None:
    """After a lost primary or a changed owner keys may be back: `--no-verify` makes another pass."""
    cluster = filled()
    if broken:
        cluster.on(b"UNLINK", exceptions.ConnectionError("reset"), node="a")
    else:
        cluster.on(b"UNLINK", lambda: cluster.move(7, to="c"), node="a")
    report = swept(cluster, "--no-verify")
    assert (report.status, report.passes, report.exact) == (Status.COMPLETE, 2, False)
    assert cluster.keys == {b"user:1"}


def test_each_broken_connection_brings_another_pass() -> None:
    """A primary may come back with keys after a lost connection: no such pass is the last one."""
    cluster = FakeCluster()
    cluster.on(b"UNLINK", exceptions.ConnectionError("reset"), slot=OF_A)
    cluster.on(b"UNLINK", exceptions.ConnectionError("reset"), slot=OF_A, skip=2)  # the first one after the first pass
    report = swept(cluster)
    assert (report.status, report.passes, report.exact) == (Status.COMPLETE, 3, False)


def test_settle_waits_for_late_writers() -> None:
    """With `--settle` a pass that finds nothing ends the sweep only after the quiet time."""
    assert swept(FakeCluster()).passes == 1
    cluster, quiet, naps = FakeCluster(), threading.Event(), iter([60.0, 60.0])
    after_pass(cluster, 1, quiet.set)
    report = swept(cluster, "--settle", "60", remaining=lambda: next(naps, 0.0) if quiet.is_set() else 60.0)
    assert next(naps, None) is None  # it waited, and each time asked for the remaining time
    assert (report.status, report.passes, report.remaining) == (Status.INCOMPLETE, 1, None)
    assert report.errors == (STOPPED,)


def test_a_key_that_comes_while_it_settles_is_swept() -> None:
    """A key that is written in the quiet time goes, and the quiet time begins again."""
    cluster = filled()
    after_pass(cluster, 1, write_late(cluster))
    report = swept(cluster, "--settle", "0.01")
    assert (report.status, report.deleted, report.remaining) == (Status.COMPLETE, 31, 0)
    assert report.passes >= 3
    assert cluster.keys == {b"user:1"}


def test_an_owner_that_changes_after_a_pass_brings_another_one() -> None:
    """A pass that found nothing proves nothing of slots that had another owner afterwards."""
    cluster = FakeCluster()
    after_pass(cluster, 1, lambda: cluster.move(7, to="c"))
    report = swept(cluster)
    assert (report.status, report.passes, report.exact) == (Status.COMPLETE, 2, False)
    assert report.errors == ("slots changed their owner, so some deletes may not be counted: 7",)


def test_a_topology_that_cannot_be_read_after_a_pass_is_a_change() -> None:
    """If no node gives the topology after a pass, another pass follows."""
    cluster = FakeCluster()
    after_pass(cluster, 1, "CLUSTERDOWN The cluster is down", times=2)
    for name in "bc":
        cluster.on(b"SLOTS", "CLUSTERDOWN The cluster is down", node=name, skip=1)
    report = swept(cluster)
    assert (report.status, report.exact) == (Status.COMPLETE, False)
    assert report.errors == (
        "the owners of the slots could not be read after a pass, so some deletes may not be counted",
    )
    assert report.passes == 3  # the owners are known again after the second, which is a change, too


def test_replicas_that_do_not_acknowledge_are_doubted_once() -> None:
    """A pass that no replica acknowledged brings another one; where none ever does, the sweep still ends."""
    cluster = FakeCluster(replicas=1)
    cluster["a"].acknowledging = 0
    report = swept(cluster)
    assert (report.status, report.exact, report.passes) == (Status.COMPLETE, False, 2)
    assert report.errors == ("no replica of a:6379 has acknowledged the deletes",)


def test_retries_are_counted() -> None:
    """The report counts how often slots were asked again, and the counts stay exact if no answer was lost."""
    cluster = filled()
    cluster.on(b"UNLINK", "CLUSTERDOWN The cluster is down", node="b", times=2)
    report = swept(cluster)
    assert (report.status, report.exact, report.retries, report.deleted) == (Status.COMPLETE, True, 2, 30)


def test_progress_is_shown_to_the_end() -> None:
    """The last progress of the last pass has all slots, and the keys of all passes."""
    seen: list[Progress] = []
    swept(filled(), on_progress=seen.append)
    last = seen[-1]
    assert (last.pass_number, last.slots_done, last.slots_asked, last.deleted) == (2, 3, 3, 30)
    assert last.shards == {"a:6379": (1, 1), "b:6379": (1, 1), "c:6379": (1, 1)}


# Redis out of reach, denials, the deadline.


def test_a_redis_that_is_away_at_first_is_waited_for() -> None:
    """A Redis that is unreachable at first is tried again until the deadline."""
    cluster = filled()
    cluster.on(b"HELLO", exceptions.ConnectionError("reset"))
    assert swept(cluster).status is Status.COMPLETE


def test_a_redis_that_stays_away_is_an_error() -> None:
    """A Redis that stays unreachable until the deadline raises an error, and nothing was done."""
    cluster = filled()
    cluster.fail("a")
    with pytest.raises(UnreachableError, match="cannot reach a:6379"):
        swept(cluster, remaining=partial(next, iter([60.0, 60.0]), 0.0))


def test_a_denial_before_anything_was_done_is_raised() -> None:
    """A denial before the first delete makes the sweep fail with the missing permission."""
    cluster = filled()
    cluster.deny(b"UNLINK")
    with pytest.raises(DeniedError, match="NOPERM"):
        swept(cluster)


def test_a_denial_after_something_was_done_is_reported() -> None:
    """If one primary denies a command that the others allow, the report is incomplete and has the others' counts."""
    cluster = filled()
    cluster.on(b"UNLINK", "NOPERM no permissions", node="c", times=ALWAYS)
    report = swept(cluster)
    assert (report.status, report.deleted, report.exact) == (Status.INCOMPLETE, 20, False)
    assert (report.passes, report.retries) == (1, 0)
    assert "c:6379 denies a command: NOPERM" in report.errors[0]
    assert "12000" in report.errors[1]


def test_the_deadline_makes_a_report() -> None:
    """After the deadline the report has the deletes, the open slots, and the sentence about the time."""
    cluster, deadline = filled(), Deadline()
    cluster.on(b"UNLINK", "CLUSTERDOWN The cluster is down", node="c", times=ALWAYS)
    after_pass(cluster, 1, deadline.come)
    report = swept(cluster, remaining=deadline)
    assert (report.status, report.deleted, report.slots_done) == (Status.INCOMPLETE, 20, 2)
    assert report.errors[0] == "slots not swept completely: 12000 (CLUSTERDOWN The cluster is down)"
    assert report.errors[1] == STOPPED


def test_scan_is_used_where_listing_is_denied() -> None:
    """The sweep is complete with SCAN if listing is denied; it then does not count slots."""
    cluster = filled()
    cluster.deny(b"GETKEYSINSLOT")
    report = swept(cluster)
    assert (report.status, report.deleted, report.slots_done) == (Status.COMPLETE, 30, None)
    assert (report.exact, report.errors) == (True, ())
    assert cluster.keys == {b"user:1"}


def test_a_count_with_scan_is_not_exact() -> None:
    """A dry run with SCAN may count a key twice; the report gives this reason."""
    cluster = filled()
    cluster.deny(b"GETKEYSINSLOT")
    report = swept(cluster, "--dry-run")
    assert (report.status, report.matched, report.exact) == (Status.DRY_RUN, 30, False)
    assert report.errors == ("keys were counted with SCAN, which may return a key twice",)


# Guards.


def test_a_dry_run_counts_and_leaves_all() -> None:
    """A dry run is one pass that counts the keys and sends no UNLINK."""
    cluster = filled()
    report = swept(cluster, "--dry-run")
    assert (report.status, report.passes, report.exact) == (Status.DRY_RUN, 1, True)
    assert (report.deleted, report.matched, report.remaining) == (0, 30, 30)
    assert len(cluster.keys) == 31
    assert cluster.got(b"UNLINK") == []


def test_more_keys_than_allowed_are_refused_before_the_first_delete() -> None:
    """`--max-keys` counts first, and refuses with the number that it found."""
    cluster = filled()
    with pytest.raises(RefusedError, match=r"30 keys match, more than --max-keys 29; nothing was deleted"):
        swept(cluster, "--max-keys", "29")
    assert len(cluster.keys) == 31
    assert cluster.got(b"UNLINK") == []


def test_the_count_before_is_not_reported() -> None:
    """If exactly `--max-keys` keys match, the sweep runs, and its report does not count them twice."""
    report = swept(filled(), "--max-keys", "30")
    assert (report.status, report.matched, report.deleted, report.passes) == (Status.COMPLETE, 30, 30, 2)


def test_keys_that_come_after_the_count_stay_within_the_bound() -> None:
    """Later passes stay within `--max-keys` too: keys beyond it are not deleted, and the report has the reason."""
    cluster = filled()
    after_pass(cluster, 1, write_late(cluster))
    report = swept(cluster, "--max-keys", "30")
    assert (report.status, report.deleted) == (Status.INCOMPLETE, 30)
    assert "stopped at --max-keys 30" in report.errors[0]
    assert LATE in cluster.keys


def test_where_not_all_can_be_counted_nothing_is_deleted() -> None:
    """If the count for `--max-keys` is not completed, no delete is sent."""
    cluster, deadline = filled(), Deadline()
    cluster.on(b"EXISTS", "CLUSTERDOWN The cluster is down", node="c", times=ALWAYS)
    after_pass(cluster, 1, deadline.come)
    report = swept(cluster, "--max-keys", "100", remaining=deadline)
    assert (report.status, report.deleted) == (Status.INCOMPLETE, 0)
    assert report.errors[0] == "not all keys could be counted, as --max-keys needs, so nothing was deleted"
    assert cluster.got(b"UNLINK") == []


def test_a_broad_pattern_is_refused_without_a_connection() -> None:
    """A broad pattern is refused before any connection to Redis."""
    cluster = filled()
    with pytest.raises(RefusedError, match="--allow-broad-patterns"):
        swept(cluster, patterns=("t*",))
    assert cluster.connected == []


def test_a_redis_without_its_marker_is_refused() -> None:
    """`--require-marker` refuses a Redis without the key, and never sweeps the key itself."""
    cluster, marker = filled(), key(OF_C, 77)
    with pytest.raises(RefusedError):
        swept(cluster, "--require-marker", marker.decode())
    assert len(cluster.keys) == 31
    cluster.fill(marker)
    report = swept(cluster, "--require-marker", marker.decode())
    assert (report.status, report.deleted, report.preserved) == (Status.COMPLETE, 30, 1)
    assert cluster.keys == {b"user:1", marker}


def test_kept_keys_stay_and_are_counted() -> None:
    """`--keep` spares the keys that it matches, and the report counts them by pattern."""
    cluster = filled()
    report = swept(cluster, "--keep", "test:*:[0-3]")
    assert (report.status, report.deleted, report.preserved) == (Status.COMPLETE, 18, 12)
    assert report.preserved_by_pattern == dict.fromkeys(PATTERNS, 4)


def test_our_own_keys_are_neither_swept_nor_counted() -> None:
    """The keys of k6-sweep stay, also those of sweeps with wider and narrower patterns, found by slot and by SCAN."""
    own = {endpoint_key([Pattern(pattern)], LOCK_NAME) for pattern in ("test:*", "tes*", "test:*:7", "t[e]st:{tag}:*")}
    for denied in ((), (b"GETKEYSINSLOT",)):
        cluster = filled()
        cluster.fill(*own)
        for word in denied:
            cluster.deny(word)
        report = swept(cluster)
        assert (report.status, report.matched, report.preserved) == (Status.COMPLETE, 30, 0)
        assert cluster.keys == {b"user:1", *own}


# The snapshot.


def snapshot_of(cluster: FakeCluster, *options: str, remaining: Callable[[], float] = lambda: 60.0) -> Snapshot:
    settings = snapshot_settings_for(cluster.url, Path("unused"), *options, patterns=PATTERNS)
    return take_snapshot(settings, cluster.connect, limited(remaining), quiet_log(), lambda _: None)[0]


def written(snapshot: Snapshot, folder: Path) -> tuple[str, str]:
    """Return the options of a sweep that spares the snapshot's keys."""
    snapshot.write(folder / "snapshot")
    return "--preserve-existing", str(folder / "snapshot")


def test_what_existed_before_is_spared(tmp_path: Path) -> None:
    """A sweep with a snapshot deletes only newer keys, and counts the spared ones."""
    cluster = filled()
    existing = written(snapshot_of(cluster), tmp_path)
    cluster.fill(LATE)
    report = swept(cluster, *existing)
    assert (report.status, report.deleted, report.preserved) == (Status.COMPLETE, 1, 30)
    assert len(cluster.keys) == 31


def test_a_snapshot_deletes_nothing_and_follows_what_moves(tmp_path: Path) -> None:
    """A snapshot retries like a sweep, so that a moving slot is in it, and deletes nothing."""
    cluster = filled()
    cluster.on(b"EXISTS", lambda: cluster.move(OF_A, to="b"), slot=OF_A, skip=1)
    snapshot = snapshot_of(cluster)
    assert (snapshot.size, snapshot.unproven) == (30, ())
    assert cluster.got(b"UNLINK") == []
    assert swept(cluster, *written(snapshot, tmp_path)).deleted == 0


def test_slots_that_a_snapshot_does_not_vouch_for_are_left_alone(tmp_path: Path) -> None:
    """In slots whose keys may not all be recorded, the sweep deletes nothing, and it names these slots."""
    cluster, deadline = filled(), Deadline()
    cluster.on(b"EXISTS", "CLUSTERDOWN The cluster is down", slot=OF_C, times=2)
    after_pass(cluster, 1, deadline.come)
    snapshot = snapshot_of(cluster, remaining=deadline)
    assert snapshot.unproven == (OF_C,)
    cluster.fill(LATE, key(OF_C, 99))
    report = swept(cluster, *written(snapshot, tmp_path))
    assert (report.status, report.deleted) == (Status.INCOMPLETE, 1)
    assert report.errors[0] == "slots not swept, because the snapshot is incomplete for them: 12000"
    assert key(OF_C, 99) in cluster.keys


def test_a_snapshot_of_something_else_is_refused(tmp_path: Path) -> None:
    """A snapshot of other patterns or of another Redis is refused."""
    existing = written(snapshot_of(FakeCluster("xyza")), tmp_path)
    cluster = filled()
    assert swept(cluster, *existing).status is Status.COMPLETE  # one node that is known is enough
    other = written(snapshot_of(cluster), tmp_path)
    with pytest.raises(RefusedError, match="of another Redis"):
        swept(_renamed(), *other)
    with pytest.raises(RefusedError, match=r"but not 'user:\*'"):
        swept(cluster, *other, patterns=(*PATTERNS, "user:*"))


def _renamed() -> FakeCluster:
    """Return a cluster with the same address, but without any node of the other one."""
    cluster = FakeCluster("xyz")
    cluster.nodes["a"] = cluster.nodes["x"]
    return cluster


def test_a_snapshot_that_grows_too_large_is_not_taken() -> None:
    """More keys than `--snapshot-limit` are refused: there is no snapshot that lacks some."""
    with pytest.raises(RefusedError, match="--snapshot-limit"):
        snapshot_of(filled(), "--snapshot-limit", "29")
    assert snapshot_of(filled(), "--snapshot-limit", "30").size == 30
