"""How commands use the register: refusals, hand-overs, retries, and what the log has of it."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest

from k6_sweep.cluster.register import Register
from k6_sweep.commands.context import ContextOf
from k6_sweep.commands.lookout import Lookout, entry_of, lookout_of
from k6_sweep.commands.registration import Registration
from k6_sweep.coordination import Entry
from k6_sweep.errors import RefusedError, UnreachableError
from k6_sweep.kube.own_pod import OwnPod
from k6_sweep.lifecycle import Events
from k6_sweep.log import open_log
from k6_sweep.patterns import Pattern
from k6_sweep.report import Report
from k6_sweep.status import Status
from tests.support import settings_for
from tests.unit.cluster.fake_redis import ALWAYS, FakeCluster

POD = OwnPod(inside=True, name="k6-1", namespace="load", uid="uid-1")
FULL = "OOM command not allowed when used memory > 'maxmemory'."


class Lookouts:
    """A cluster, and lookouts of sweeps in it."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.log = StringIO()

    def register(self, *patterns: Pattern) -> Register:
        wanted = patterns or (Pattern("test:*"),)
        return Register(settings_for(self.cluster.url).redis_url, wanted, self.cluster.connect)

    def lookout(self, *options: str) -> Lookout:
        settings = settings_for(self.cluster.url, *options)
        mine = entry_of(settings, OwnPod(), "mine", 0.0)
        return Lookout(settings, mine, open_log("json", "info", stream=self.log), self.register(), lambda _: None)

    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.log.getvalue().splitlines()]


def other(*patterns: str, owed: bool = False, sweeps: bool = True) -> Entry:
    return Entry("other", "load/other", 0.0, tuple(map(Pattern, patterns or ("test:*",))), sweeps=sweeps, owed=owed)


def test_a_restarted_watcher_is_the_same_test() -> None:
    """In a pod, the id is of the pod and of what is watched; outside, it is of the run."""
    settings = settings_for("redis://a:1")
    first, again = (entry_of(settings, POD, run, 0.0).run for run in ("first", "again"))
    beside = entry_of(settings_for("redis://a:1", "--k6-process", "other", command="watch"), POD, "first", 0.0).run
    assert first == again != beside
    assert entry_of(settings, replace(POD, uid=None), "first", 0.0).run == "first"
    assert entry_of(settings, POD, "first", 0.0).who == "load/k6-1"


@pytest.mark.parametrize(
    ("options", "sweeps"),
    [((), True), (("--dry-run",), False), (("--when", "failure"), False), (("--preserve-existing", "x"), False)],
)
def test_who_surely_sweeps(options: tuple[str, ...], sweeps: bool) -> None:
    """A test is left to a watcher only if that one deletes all keys, whatever k6's result is."""
    assert entry_of(settings_for("redis://a:1", *options, command="watch"), POD, "", 0.0).sweeps is sweeps


def test_a_running_test_is_in_the_way() -> None:
    """A sweep is refused while a test is running that it would disturb, and the refusal names the test."""
    world = Lookouts()
    world.register().enter(other("test:a:*"))
    with pytest.raises(RefusedError, match=r"the test of load/other \(since .*--even-during-tests"):
        world.lookout().may_begin()
    world.lookout("--even-during-tests").may_begin()
    assert lookout_of(settings_for("redis://a:1", "--dry-run"), POD, "", open_log("json", "info")) is None
    assert lookout_of(settings_for("redis://a:1", "--coordinate", "off"), POD, "", open_log("json", "info")) is None
    assert world.events() == []


def test_a_test_that_begins_ends_the_sweep() -> None:
    """A test that begins during the sweep is seen at the next look, and the sweep must end."""
    world = Lookouts()
    lookout = world.lookout()
    lookout.may_begin()
    world.register().enter(other())
    lookout.tick()
    assert list(lookout.ends()) == []  # it has just looked
    lookout._next_look = 0.0
    lookout.tick()
    (end,) = lookout.ends()
    assert "the test of load/other" in end.reason


@pytest.mark.parametrize("happens", [FULL, "NOPERM User k6 has no permissions to run the 'zrange' command"])
def test_a_register_that_cannot_be_used(happens: str) -> None:
    """By default the sweep begins with a warning, once; with --coordinate require it is refused."""
    world = Lookouts()
    world.cluster.on(b"ZRANGE", happens, times=ALWAYS)
    lookout = world.lookout()
    lookout.may_begin()
    lookout.may_begin()
    assert world.events() == ["register of tests not usable"]
    with pytest.raises(RefusedError, match="--coordinate require allows no sweep without the register"):
        world.lookout("--coordinate", "require").may_begin()


def test_a_register_that_does_not_answer() -> None:
    """A sweep that must look tries as long as time remains; another one begins with a warning after some attempts."""
    world = Lookouts()
    left = [100]

    def remaining() -> float:
        left[0] -= 1
        return float(left[0])

    world.cluster.on(b"ZRANGE", "CLUSTERDOWN The cluster is down", times=50)
    world.lookout().may_begin(None, remaining)
    assert world.events() == ["register of tests not usable"]
    world.lookout("--coordinate", "require").may_begin(None, remaining)
    assert left[0] > 0
    world.cluster.on(b"ZRANGE", "CLUSTERDOWN The cluster is down", times=ALWAYS)
    with pytest.raises(UnreachableError, match="CLUSTERDOWN"):
        world.lookout("--coordinate", "require").may_begin(None, remaining)
    assert left[0] == 0
    assert world.lookout().peek() == []


def _complete(report: Report) -> Report:
    return replace(report, status=Status.COMPLETE)


@pytest.mark.parametrize(
    ("owed", "change", "settles"),
    [
        (other("test:a:*", owed=True), _complete, True),
        (other("*:a", owed=True), _complete, False),
        (other(owed=True), lambda report: report, False),
    ],
)
def test_what_is_owed_is_settled_or_named(owed: Entry, change: Callable[[Report], Report], settles: bool) -> None:
    """A complete sweep removes the debts that it covers; other debts stay, and the report names them."""
    world = Lookouts()
    world.register(*owed.patterns).owe(owed)
    lookout = world.lookout()
    lookout.may_begin()
    report = lookout.settle(change(Report(Status.INCOMPLETE)))
    assert bool(report.warnings) is not settles
    assert [each.run for each in world.register().read()] == ([] if settles else ["other"])
    if not settles:
        assert report.warnings[0].startswith("the sweep of load/other (ended ")


class Hanging(Registration):
    """A registration whose first attempts hang."""

    attempts = 0

    def _renew(self) -> None:
        self.attempts += 1
        super()._renew()

    def enter(self) -> dict[str, Any]:
        if self.attempts < 3:
            time.sleep(600)
        return {"problem": None, "others": ["load/other"]}


def registration_in(events: Events, log: StringIO, *options: str) -> Hanging:
    settings = settings_for("redis://h", *options, command="watch")
    context = ContextOf(settings, open_log("json", "info", stream=log), lambda _: None, POD, lambda: events)
    return Hanging(context, events, retry=0.05)


def test_a_registration_that_hangs_is_tried_again() -> None:
    """A child process that does not answer is replaced; its answer enters the test, and no other one follows soon."""
    log = StringIO()
    with Events() as events:
        registration = registration_in(events, log)
        while not registration.entered:
            events.wait([], None)
        attempts = registration.attempts  # on a busy machine, the third one may need more than 0.05 s
        events.wait([], 0.2)
        assert registration.attempts == attempts >= 3
        registration.end()
    assert [json.loads(line)["others"] for line in log.getvalue().splitlines()] == [["load/other"]]


def test_a_denied_registration() -> None:
    """A denial is logged once and not tried again; with --coordinate require it ends the watch."""
    log, denied = StringIO(), {"problem": "NOPERM", "later": False}
    with Events() as events:
        registration = registration_in(events, log)
        registration.note({"problem": "away", "later": True})
        registration.note(None)
        registration.note(denied)
        events.wait([], 0.2)
        assert (registration.attempts, registration.entered) == (0, False)
        with pytest.raises(RefusedError, match="NOPERM; --coordinate require"):
            registration_in(events, log, "--coordinate", "require").note(denied)
        off = registration_in(events, log, "--coordinate", "off")
        events.wait([], 0.2)
        assert (off.on, off.attempts) == (False, 0)
    assert [json.loads(line)["problem"] for line in log.getvalue().splitlines()] == ["away", "NOPERM"]


@pytest.mark.parametrize("options", [(), ("--coordinate", "require")])
def test_a_test_that_was_registered_is_renewed_after_a_refusal(options: tuple[str, ...]) -> None:
    """Once a test is in the register, a full memory or a new password does not end its renewals, nor the watch."""
    log = StringIO()
    with Events() as events:
        registration = registration_in(events, log, *options)
        registration.attempts = 3
        registration.note({"problem": None, "others": []})
        registration.note({"problem": FULL, "later": False})
        registration.entered = False
        while not registration.entered:
            events.wait([], None)
        registration.end()
    assert [json.loads(line)["level"] for line in log.getvalue().splitlines()][:2] == ["info", "warning"]
