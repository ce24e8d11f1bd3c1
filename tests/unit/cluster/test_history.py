"""The list of the latest sweeps of all replicas: what it keeps, and how it shows a sweep whose replica was killed."""

import json
from typing import Any

import pytest

from k6_sweep.cluster.endpoint_keys import EndpointKeys, endpoint_key
from k6_sweep.cluster.history import KEPT_FOR, LATEST, History, Record
from k6_sweep.cluster.lock import LOCK_NAME, Holder, SweepLock, holder_in
from k6_sweep.cluster.slots import key_slot
from k6_sweep.errors import UnreachableError
from k6_sweep.patterns import Pattern
from tests.support import quiet_log, settings_for
from tests.unit.cluster.fake_redis import FakeCluster

LIST = endpoint_key([Pattern("test:*")], b"sweeps")
LOCK = endpoint_key([Pattern("test:*")], LOCK_NAME)


def record(name: str, since: float = 1.5, status: str = "complete", **more: Any) -> Record:
    report = {"status": status, "deleted": 7, "errors": [], **more}
    return Record(name, "load/pod-1", since, dry_run=False, report=report, patterns=["test:*"])


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def keys(cluster: FakeCluster) -> EndpointKeys:
    return EndpointKeys(settings_for(cluster.url), lambda _: cluster.connect)


@pytest.fixture
def history(keys: EndpointKeys) -> History:
    return History(keys)


def put(cluster: FakeCluster, value: bytes) -> None:
    cluster.owner[key_slot(LIST)].put(LIST, value)


def test_the_latest_come_first(history: History) -> None:
    """The list has the latest sweeps, the newest first, and each of them once with its latest report."""
    for number in range(LATEST + 5):
        history.note(record(f"{number}", number, "sweeping"))
        history.note(record(f"{number}", number))
    assert history.read() == [record(f"{number}", number) for number in range(LATEST + 4, 4, -1)]


def test_the_list_is_next_to_the_lock_and_expires(history: History, cluster: FakeCluster) -> None:
    """The list is in the lock's slot, needs no other command, and is gone an hour after its last change."""
    history.note(record("first"))
    assert key_slot(LIST) == key_slot(LOCK)
    assert {command[0] for _, command in cluster.sent} == {b"HELLO", b"CLUSTER", b"SET", b"GET"}
    cluster.now = KEPT_FOR - 1
    assert history.read()
    cluster.now = KEPT_FOR
    assert history.read() == []


def test_a_killed_sweep(history: History, keys: EndpointKeys) -> None:
    """A sweep without an end that holds the lock is running; without the lock, it is incomplete, with its counts."""
    lock = SweepLock(keys, quiet_log())
    lock.take(Holder("first", "load/pod-1", 1.5), 60)
    history.note(record("old", 1.0, "sweeping", errors=["slow"]))
    history.note(record("first", 2.0, "sweeping"))
    running, dead = history.read()
    assert running == record("first", 2.0, "sweeping")
    assert (dead.status, dead.report["deleted"]) == ("incomplete", 7)
    assert "load/pod-1 stopped renewing the sweep lock" in dead.report["errors"][0]
    assert dead.report["errors"][1:] == ["slow"]


@pytest.mark.parametrize("when", [1, 2, 3])
def test_a_sweep_that_ends_meanwhile_is_not_killed(
    history: History, keys: EndpointKeys, cluster: FakeCluster, when: int
) -> None:
    """A sweep that ends or begins while the list is read is never taken for a killed one."""
    lock = SweepLock(keys, quiet_log())
    first, second = Holder("first", "load/pod-1", 1.0), Holder("second", "load/pod-1", 2.0)
    lock.take(first, 60)
    history.note(record("first", 1.0, "sweeping"))

    def hand_over() -> None:
        history.note(record("first", 1.0))
        lock.release(first)
        cluster.now += 1
        lock.take(second, 60)
        history.note(record("second", 2.0, "sweeping"))

    cluster.on(b"GET", hand_over, skip=when - 1)
    assert {each.status for each in history.read()} <= {"sweeping", "complete"}


@pytest.mark.parametrize(
    "value",
    [
        b"\xff",
        b"someone",
        b"null",
        b"{}",
        b"7",
        b"[7]",
        b"[{}]",
        b'[{"id": "x", "who": "x", "since": NaN, "dry_run": true, "patterns": [], "report": {}}]',
        b"[" * 100_000,
    ],
)
def test_a_list_of_another_program(history: History, cluster: FakeCluster, value: bytes) -> None:
    """A value that is no list of sweeps counts as an empty list; the next sweep replaces it."""
    put(cluster, value)
    assert history.read() == []
    history.note(record("first"))
    assert history.read() == [record("first")]


def test_an_entry_of_a_newer_version(history: History, cluster: FakeCluster) -> None:
    """Fields that this version does not know are no mistake; a status that it does not know is one."""
    history.note(record("first"))
    (entry,) = json.loads(cluster.owner[key_slot(LIST)].slots[key_slot(LIST)][LIST])
    put(cluster, json.dumps([entry | {"colour": "red"}]).encode())
    assert history.read() == [record("first")]
    entry["report"]["status"] = "paused"
    put(cluster, json.dumps([entry]).encode())
    assert history.read() == []


def test_long_patterns_are_left_out(history: History) -> None:
    """The list stays small: patterns with more than 1,000 characters are not in it."""
    long = Record("first", "load/pod-1", 1.0, dry_run=True, report=record("x").report, patterns=["x" * 600] * 2)
    history.note(long)
    assert history.read()[0].patterns == []


def test_a_full_redis(history: History, cluster: FakeCluster) -> None:
    """Without memory for the list, a note is an error that names it."""
    cluster.on(b"SET", "OOM command not allowed when used memory > 'maxmemory'.")
    with pytest.raises(UnreachableError, match="does not accept SET on the list of sweeps: OOM"):
        history.note(record("first"))


@pytest.mark.parametrize("value", [b"abc", b"17", b'{"id": "abc"}', b'{"id": "x", "who": "y", "since": NaN}', b"\xff"])
def test_a_lock_of_another_version(value: bytes) -> None:
    """The lock of an older version holds the bare id; any other value is an id, too."""
    assert holder_in(value) == Holder(value.decode("utf-8", "replace"))
    assert str(holder_in(b"abc")) == "sweep abc"
