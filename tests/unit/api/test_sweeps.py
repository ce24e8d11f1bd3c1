"""The endpoint runs one sweep at a time, for any caller and after any failure."""

import io
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from k6_sweep.api.journal import Journal
from k6_sweep.api.lock import LOCKED_FOR
from k6_sweep.api.sweeps import REMEMBERED, Sweeps
from k6_sweep.api.turned_away import BusyError, InUseError, StoppingError
from k6_sweep.cluster.history import Record
from k6_sweep.cluster.lock import Holder
from k6_sweep.errors import UnreachableError
from k6_sweep.log import Log, open_log
from k6_sweep.patterns import Pattern
from k6_sweep.report import Report
from k6_sweep.settings.all import Settings
from k6_sweep.status import Status
from k6_sweep.sweep.result import Progress
from k6_sweep.sweep.time_limit import TimeLimit
from tests.support import quiet_log, settings_for, until

PATTERNS = (Pattern("test:1:*"),)


@dataclass
class FakeLock:
    """A lock that another replica may hold, or that cannot be reached."""

    holder: Holder | None = None
    away: bool = False
    released: list[str] = field(default_factory=list)
    renewed: list[tuple[str, float]] = field(default_factory=list)

    def take(self, holder: Holder, seconds: float) -> Holder | None:
        assert holder.id
        assert seconds == LOCKED_FOR
        if self.away:
            raise UnreachableError("cannot reach redis:6379")
        return self.holder

    def renew(self, holder: Holder, seconds: float) -> None:
        self.renewed.append((holder.id, seconds))

    def release(self, holder: Holder) -> None:
        self.released.append(holder.id)
        if self.away:
            raise UnreachableError("cannot reach redis:6379")


@dataclass
class FakeHistory:
    """Notes of sweeps in the order in which they came; Redis may refuse them."""

    notes: list[Record] = field(default_factory=list)
    away: bool = False

    def note(self, record: Record) -> None:
        if self.away:
            raise UnreachableError("redis:6379 does not accept SET on the list of sweeps: OOM")
        self.notes.append(record)

    def read(self) -> list[Record]:
        return self.notes


class FakeWork:
    """A sweep that runs until the test lets it end."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.settings: list[Settings] = []
        self.fault: Exception | None = None

    def __call__(
        self, settings: Settings, _log: Log, limit: TimeLimit, on_progress: Callable[[Progress], None]
    ) -> Report:
        self.settings.append(settings)
        on_progress(Progress(1, 5, 10, 3, 4, {"test:1:*": 4}, {}, 0.1))
        if self.fault:
            raise self.fault
        while limit.remaining() > 0:
            if self.may_end.wait(0.01):
                return Report(Status.COMPLETE)
        return Report(Status.INCOMPLETE, errors=(limit.reason(),))


@pytest.fixture
def lock() -> FakeLock:
    return FakeLock()


@pytest.fixture
def work() -> FakeWork:
    return FakeWork()


@pytest.fixture
def ends() -> list[Report]:
    return []


@pytest.fixture
def history() -> FakeHistory:
    return FakeHistory()


@pytest.fixture
def journal(history: FakeHistory) -> Journal:
    return Journal(history, "load/pod-1", quiet_log())


@pytest.fixture
def sweeps(work: FakeWork, lock: FakeLock, journal: Journal, ends: list[Report]) -> Sweeps:
    return Sweeps(settings_for("redis://h", command="run"), work, lock, quiet_log(), journal, ends.append)


def test_a_sweep_is_of_what_was_asked_for(sweeps: Sweeps, work: FakeWork, lock: FakeLock, ends: list[Report]) -> None:
    """A sweep has the request's patterns, can be read by its id, and releases the lock."""
    sweep = sweeps.begin(PATTERNS, dry_run=False)
    sweep.admitted.result(5)
    work.may_end.set()
    assert sweep.ended.result(5) == sweep.report() == Report(Status.COMPLETE)
    (settings,) = work.settings
    assert (settings.pattern, settings.dry_run) == (PATTERNS, False)
    assert lock.released == [sweep.id]
    assert ends == [Report(Status.COMPLETE)]
    assert sweeps.find(sweep.id) is sweep


def test_a_dry_server_never_deletes(work: FakeWork, lock: FakeLock, journal: Journal) -> None:
    """No request can make a server with --dry-run delete keys."""
    sweeps = Sweeps(settings_for("redis://h", "--dry-run"), work, lock, quiet_log(), journal)
    work.may_end.set()
    assert sweeps.begin(PATTERNS, dry_run=False).ended.result(5)
    assert work.settings[0].dry_run


def test_the_next_one_has_to_wait(sweeps: Sweeps, work: FakeWork) -> None:
    """A running sweep makes the next request fail with its id; after its end the next sweep may begin."""
    first = sweeps.begin(PATTERNS, dry_run=False)
    with pytest.raises(BusyError) as busy:
        sweeps.begin(PATTERNS, dry_run=True)
    assert busy.value.running == first.holder
    work.may_end.set()
    for _ in range(50):
        first.ended.result(5)
        first = sweeps.begin(PATTERNS, dry_run=False)
    first.ended.result(5)


def test_another_replica_sweeps(sweeps: Sweeps, lock: FakeLock, work: FakeWork, ends: list[Report]) -> None:
    """If another replica sweeps, the error has its sweep's id, nothing runs or is stored, and the lock stays."""
    lock.holder = Holder("abc", "load/pod-2", 0.0)
    sweep = sweeps.begin(PATTERNS, dry_run=False)
    with pytest.raises(BusyError, match=r"sweep abc of load/pod-2 \(since 1970-01-01T00:00:00Z\) is running"):
        sweep.admitted.result(5)
    sweeps.join()
    assert (work.settings, ends, lock.released, sweeps.find(sweep.id)) == ([], [], [], None)
    lock.holder = None
    work.may_end.set()
    assert sweeps.begin(PATTERNS, dry_run=False).ended.result(5).status == "complete"


def test_a_test_that_is_running(work: FakeWork, lock: FakeLock, journal: Journal, ends: list[Report]) -> None:
    """A sweep that would disturb a test is not admitted, nothing is stored, and the lock is released."""
    in_use = [True]

    def check_free(settings: Settings) -> None:
        assert settings.pattern == PATTERNS
        if in_use[0]:
            raise InUseError("load/k6-1", will_sweep=True)

    sweeps = Sweeps(settings_for("redis://h"), work, lock, quiet_log(), journal, ends.append, check_free)
    sweep = sweeps.begin(PATTERNS, dry_run=False)
    with pytest.raises(InUseError, match="the test of load/k6-1 is running and uses these keys; its watcher will"):
        sweep.admitted.result(5)
    sweeps.join()
    assert (work.settings, ends, lock.released, sweeps.find(sweep.id)) == ([], [], [sweep.id], None)
    in_use[0] = False
    work.may_end.set()
    assert sweeps.begin(PATTERNS, dry_run=False).ended.result(5).status == "complete"


def test_the_lock_is_renewed(sweeps: Sweeps, work: FakeWork, lock: FakeLock) -> None:
    """A sweep keeps its lock for a few seconds at a time, and not for its whole time limit."""
    sweep = sweeps.begin(PATTERNS, dry_run=False)
    until(lambda: len(lock.renewed) > 1)
    assert set(lock.renewed) == {(sweep.id, LOCKED_FOR)}
    work.may_end.set()
    assert sweep.ended.result(5).status == "complete"


def test_the_lock_cannot_be_asked(sweeps: Sweeps, lock: FakeLock, work: FakeWork) -> None:
    """A lock that cannot be taken makes the sweep fail; one that cannot be released does not change the result."""
    lock.away = True
    sweep = sweeps.begin(PATTERNS, dry_run=False)
    report = sweep.ended.result(5)
    assert (report.status, report.errors, work.settings) == ("failed", ("cannot reach redis:6379",), [])
    assert lock.released == [sweep.id]  # perhaps Redis set it and only the answer was lost


def test_an_internal_fault_is_reported(sweeps: Sweeps, work: FakeWork) -> None:
    """An internal fault ends the sweep with the counts so far, and the next sweep can begin."""
    work.fault = RuntimeError("bug")
    report = sweeps.begin(PATTERNS, dry_run=False).ended.result(5)
    assert report.as_dict()["status"] == "error"
    assert report.as_dict()["deleted"] == 3
    work.fault = None
    work.may_end.set()
    assert sweeps.begin(PATTERNS, dry_run=False).ended.result(5).status == "complete"


def test_a_cancelled_sweep_is_reported_as_cancelled(sweeps: Sweeps) -> None:
    """The report of a cancelled sweep shows that a request ended it."""
    sweep = sweeps.begin(PATTERNS, dry_run=False)
    sweep.cancel()
    assert sweep.ended.result(5).errors == ("a request cancelled the sweep before it finished",)


def test_the_end_of_the_server(sweeps: Sweeps) -> None:
    """At shutdown the running sweep ends at the given moment, and no other begins."""
    sweep = sweeps.begin(PATTERNS, dry_run=False)
    sweeps.stop(0.0)
    sweeps.join()
    assert sweep.ended.result(0).errors == ("the server was shut down before the sweep finished",)
    with pytest.raises(StoppingError):
        sweeps.begin(PATTERNS, dry_run=False)


def test_only_the_latest_sweeps_are_remembered(sweeps: Sweeps, work: FakeWork) -> None:
    """Only the latest sweeps are remembered; the oldest is forgotten."""
    work.may_end.set()
    done = []
    for _ in range(REMEMBERED + 1):
        done.append(sweeps.begin(PATTERNS, dry_run=False))
        done[-1].ended.result(5)
    assert sweeps.find(done[0].id) is None
    assert sweeps.find(done[1].id) is done[1]


def test_a_failed_publication_blocks_nothing(
    work: FakeWork, lock: FakeLock, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If publishing a sweep's end fails, its waiters still get an answer, and the next sweep can begin."""
    faults: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", faults.append)

    def fault(_: Report) -> None:
        raise RuntimeError("bug")

    sweeps = Sweeps(settings_for("redis://h"), work, lock, quiet_log(), journal, fault)
    work.may_end.set()
    assert sweeps.begin(PATTERNS, dry_run=False).ended.result(5).status == "complete"
    assert sweeps.begin(PATTERNS, dry_run=False).ended.result(5).status == "complete"
    sweeps.join()
    assert [str(each.exc_value) for each in faults] == ["bug", "bug"]


def test_no_thread_no_sweep(sweeps: Sweeps, work: FakeWork, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the system starts no thread, that sweep fails and the next one may begin."""
    work.may_end.set()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", _refuse)
        with pytest.raises(RuntimeError):
            sweeps.begin(PATTERNS, dry_run=False)
    assert sweeps.begin(PATTERNS, dry_run=False).ended.result(5).status == "complete"


def _refuse(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_a_sweep_is_noted(sweeps: Sweeps, work: FakeWork, history: FakeHistory) -> None:
    """A sweep is noted before its client can ask for it, beside its progress, and with its end; one per server."""
    sweep = sweeps.begin(PATTERNS, dry_run=False)
    sweep.admitted.result(5)
    assert [note.status for note in history.notes] == ["sweeping"]
    until(lambda: len(history.notes) > 1)
    assert (history.notes[-1].status, history.notes[-1].report["deleted"]) == ("sweeping", 3)
    work.may_end.set()
    sweep.ended.result(5)
    assert (history.notes[-1].status, history.notes[-1].who) == ("complete", "load/pod-1")
    assert {note.id for note in history.notes} == {sweep.id}
    assert [each.id for each in sweeps.own()] == [sweep.id]


def test_a_sweep_that_may_not_begin_is_not_noted(sweeps: Sweeps, lock: FakeLock, history: FakeHistory) -> None:
    """A sweep that never held the lock leaves no note."""
    lock.holder = Holder("abc")
    sweeps.begin(PATTERNS, dry_run=False).admitted.exception(5)
    sweeps.join()
    lock.away = True
    assert sweeps.begin(PATTERNS, dry_run=False).ended.result(5).status == "failed"
    assert history.notes == []


def test_a_sweep_that_cannot_be_noted(work: FakeWork, lock: FakeLock, history: FakeHistory) -> None:
    """A sweep that Redis does not let record goes on; the log has one line until a note succeeds."""
    stream = io.StringIO()
    log = open_log("json", "info", stream=stream)
    sweeps = Sweeps(settings_for("redis://h"), work, lock, log, Journal(history, "load/pod-1", log))
    work.may_end.set()
    for away in (True, True, False, True):
        history.away = away
        assert sweeps.begin(PATTERNS, dry_run=False).ended.result(5).status == "complete"
    lines = [line for line in map(json.loads, stream.getvalue().splitlines()) if line["event"] == "sweep not recorded"]
    assert len(lines) == 2
    assert "OOM" in lines[0]["problem"]


@pytest.mark.parametrize(
    ("who", "here"),
    [("load/pod-1", ["load/pod-1", "load/pod-2"]), ("loader-7", ["loader-7"]), ("load", ["load/pod-1", "load/pod-2"])],
)
def test_sweeps_of_here(who: str, here: list[str]) -> None:
    """The sweeps of a namespace's pods, or of a host, are not those of another one that uses the same list."""
    history = FakeHistory()
    for number, each in enumerate(("load/pod-1", "load-2/pod-1", "load/pod-2", "loader-7", "loader")):
        history.note(Record(f"{number}", each, number, dry_run=False, report={"status": "complete", "errors": []}))
    assert sorted(each.who for each in Journal(history, who, quiet_log()).of_here()) == here
