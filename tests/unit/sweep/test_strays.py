"""Keys on primaries that do not own their slots make a sweep or a snapshot incomplete; nothing deletes them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from redis import exceptions

from k6_sweep.cluster.slots import TAGS
from k6_sweep.status import Status
from k6_sweep.sweep.result import SweepReport
from k6_sweep.sweep.snapshot import Snapshot
from k6_sweep.sweep.sweeper import sweep, take_snapshot
from tests.support import limited, quiet_log, settings_for, snapshot_settings_for
from tests.unit.cluster.fake_redis import ALWAYS, FakeCluster, key
from tests.unit.sweep.fakes import Deadline

OF_A, OF_B = 10, 6000
STRAY = key(OF_A, 99)
"""A matching key of a slot that node a owns."""
PATTERNS = [f"test:{{{TAGS[slot].decode()}}}:*" for slot in (OF_A, OF_B)]
"""They reach only these two slots, so that a look is short."""


def filled(*strays: bytes, hidden: bool = False) -> FakeCluster:
    """Return three nodes with matching and other keys; b holds these keys, but does not own their slots."""
    cluster = FakeCluster()
    cluster.fill(*(key(slot, number) for slot in (OF_A, OF_B) for number in range(5)))
    cluster.leave_behind("b", *strays)
    cluster.hides_strays = hidden
    return cluster


def swept(cluster: FakeCluster, *options: str, remaining: Callable[[], float] = lambda: 60.0) -> SweepReport:
    settings = settings_for(cluster.url, *options, patterns=PATTERNS)
    return sweep(settings, cluster.connect, limited(remaining), quiet_log(), lambda _: None)


def noted(cluster: FakeCluster) -> tuple[Snapshot, SweepReport]:
    settings = snapshot_settings_for(cluster.url, Path("unused"), patterns=PATTERNS)
    return take_snapshot(settings, cluster.connect, limited(lambda: 60.0), quiet_log(), lambda _: None)


@pytest.mark.parametrize("options", [(), ("--no-verify",), ("--dry-run",)], ids=["sweep", "no verify", "dry run"])
@pytest.mark.parametrize("denied", [False, True], ids=["DBSIZE allowed", "DBSIZE denied"])
def test_a_stray_key_makes_it_incomplete(options: tuple[str, ...], denied: bool) -> None:
    """A matching key on a node that does not own its slot is named with node and slot, and it stays."""
    cluster = filled(STRAY)
    if denied:
        cluster.deny(b"DBSIZE")
    report = swept(cluster, *options)
    assert (report.status, report.remaining, report.slots_done) == (Status.INCOMPLETE, None, 1)
    assert report.errors[0].startswith("slots not swept completely: 10 (b:6379 holds matching keys of these slots")
    assert cluster["b"].holds(STRAY)
    assert (report.deleted, report.exact) == (0 if "--dry-run" in options else 10, True)


def test_hidden_keys_may_be_in_any_slot() -> None:
    """If only DBSIZE shows that a node holds more keys, all slots that it does not own may have them."""
    cluster = filled(key(OF_A + 1), hidden=True)
    report = swept(cluster)
    assert (report.status, report.remaining, report.slots_done) == (Status.INCOMPLETE, None, 1)
    assert report.errors[0].startswith("slots not swept completely: 10 (b:6379 hides keys of slots")
    assert cluster["b"].holds(key(OF_A + 1))


def test_what_cannot_be_known_is_not_claimed() -> None:
    """If the server hides the keys and denies DBSIZE, the sweep is complete, as far as this user can know."""
    cluster = filled(STRAY, hidden=True)
    cluster.deny(b"DBSIZE")
    assert swept(cluster).status is Status.COMPLETE


def test_foreign_keys_are_no_strays() -> None:
    """Stray keys that no pattern matches, or that a keep spares, do not matter."""
    assert swept(filled(b"user:{%b}" % TAGS[OF_A])).status is Status.COMPLETE
    assert swept(filled(STRAY), "--keep", STRAY.decode()).status is Status.COMPLETE


def test_only_reachable_slots_matter() -> None:
    """If the patterns reach only some slots, strays of other slots do not matter."""
    assert swept(filled(key(OF_A + 1))).status is Status.COMPLETE


def test_a_snapshot_does_not_cover_slots_with_strays() -> None:
    """A slot whose keys may appear later is not proven in a snapshot, so that no sweep deletes its keys."""
    taken, report = noted(filled(STRAY))
    assert (report.status, taken.unproven) == (Status.INCOMPLETE, (OF_A,))


def test_slots_that_are_moving_are_no_strays() -> None:
    """The target of a migration holds keys of a slot that it does not own yet; both nodes were swept."""
    cluster = filled()
    cluster.migrate(OF_A, "b", key(OF_A, 1), key(OF_A, 2))
    report = swept(cluster)
    assert (report.status, report.deleted) == (Status.COMPLETE, 10)


def test_strays_that_disappear_are_no_strays() -> None:
    """Only what several looks in a row find counts: a migration may have been in progress during the first."""
    cluster = filled(STRAY)
    cluster.on(b"DBSIZE", lambda: cluster["b"].take(STRAY) and None, node="b", skip=3)
    assert swept(cluster).status is Status.COMPLETE


def test_copies_of_an_atomic_migration_are_no_strays() -> None:
    """What a server lists but does not count in DBSIZE is a copy that an atomic migration makes (Valkey 9)."""
    cluster = filled()
    cluster.leave_behind("b", STRAY)
    cluster["b"].copies = 1  # of its keys
    taken, report = noted(cluster)
    assert (report.status, taken.unproven) == (Status.COMPLETE, ())


def test_a_primary_that_does_not_answer_is_asked_again() -> None:
    """A connection that breaks during the look is opened again."""
    cluster = filled()
    cluster.on(b"DBSIZE", exceptions.ConnectionError("reset"), node="b")
    assert swept(cluster).status is Status.COMPLETE


def test_a_look_without_an_answer_proves_nothing() -> None:
    """If a primary does not answer until no time remains, the sweep is incomplete and names it."""
    cluster, deadline = filled(), Deadline()

    def fail() -> Exception:
        deadline.come()
        return exceptions.ConnectionError("reset")

    cluster.on(b"DBSIZE", fail, node="b", times=ALWAYS)
    report = swept(cluster, remaining=deadline)
    assert (report.status, report.slots_done) == (Status.INCOMPLETE, 0)
    assert "Another primary may hold keys of these slots: lost the connection to b:6379" in report.errors[0]


def test_an_error_in_place_of_a_count_is_no_zero() -> None:
    """A node that refuses to count proves nothing, even if the refusal may pass."""
    cluster, deadline = filled(), Deadline()

    def refuse() -> str:
        deadline.come()
        return "CLUSTERDOWN The cluster is down"

    cluster.on(b"COUNTKEYSINSLOT", refuse, slot=OF_A, node="b", times=ALWAYS)
    report = swept(cluster, remaining=deadline)
    assert report.status is Status.INCOMPLETE
    assert "CLUSTERDOWN" in report.errors[0]


def test_with_scan_strays_are_found_too() -> None:
    """If the listing of slots is denied, SCAN of each primary finds the strays."""
    cluster = filled(STRAY)
    cluster.deny(b"COUNTKEYSINSLOT")
    report = swept(cluster)
    assert (report.status, report.remaining, report.slots_done) == (Status.INCOMPLETE, None, None)
    assert "10 (b:6379 holds matching keys" in report.errors[0]
    cluster["b"].take(STRAY)
    assert swept(cluster).status is Status.COMPLETE
