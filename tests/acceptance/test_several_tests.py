"""Several k6s on one cluster, each with a watcher: no sweep disturbs a running test, and the last one out sweeps."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from k6_sweep.demo.keys import all_keys, write_keys
from k6_sweep.demo.servers import LocalCluster
from tests.acceptance.command import Ended, k6_sweep
from tests.acceptance.pod import Sidecar, private_k6, start_sidecar
from tests.acceptance.scripts import HOLD, k6_scripts
from tests.support import keys_of, until

SEEDS = int(os.environ.get("K6_SWEEP_SHARING_RUNS", "20"))
FIRST = int(os.environ.get("K6_SWEEP_SHARING_FIRST", "1"))
REGISTER = b"{k6-sweep}runs"
PASSED, ABORTED = 0, 105

pytestmark = pytest.mark.usefixtures("unmeasured")  # dozens of processes


class SharingTest:
    """A k6 whose keys begin with its prefix, and its watcher."""

    def __init__(self, cluster: LocalCluster, folder: Path, prefix: str, *options: str) -> None:
        self._cluster = cluster
        self._folder = folder
        self._prefix = prefix
        self._k6_file = private_k6(folder)
        self._options = ("--k6-process", self._k6_file.name, *options)
        self.watcher = self._watch()
        self.k6: subprocess.Popen[bytes] | None = None

    def _watch(self) -> Sidecar:
        env = {"KUBERNETES_SERVICE_HOST": "", "POD_UID": f"uid of {self._folder.name}"}
        return start_sidecar(self._folder, self._cluster.url, *self._options, env=env)

    def restart_the_watcher(self) -> None:
        """Kill the watcher, and start it again in the same pod."""
        self.watcher.process.kill()
        self.watcher.process.communicate()
        self.watcher.log_file.unlink()  # else k6 would wait for it
        self.watcher = self._watch()

    def run(self, rounds: int, *, alone: bool = False, script: str = "sharing.js") -> None:
        """Start k6; without its watcher if it is alone."""
        nodes = ",".join(f"redis://127.0.0.1:{node.port}" for node in self._cluster.primaries)
        env = {"REDIS_NODES": nodes, "PREFIX": self._prefix, "ROUNDS": str(rounds), "ALONE": "yes" if alone else ""}
        words = [str(self._k6_file), "run", "--quiet", "--no-usage-report", "--address", "localhost:0"]
        self.k6 = subprocess.Popen([*words, str(self._folder / script)], env=os.environ | env, cwd=self._folder)

    def hold(self) -> None:
        """Keep k6 from ending."""
        (self._folder / HOLD).touch()

    def release(self) -> None:
        (self._folder / HOLD).unlink()

    def has_written(self) -> bool:
        return f"{self._prefix}0".encode() in keys_of(self._cluster.primaries)

    def has_ended(self) -> bool:
        return self.k6 is not None and self.k6.poll() is not None

    def is_registered(self) -> bool:
        return self.watcher.says("test registered")

    def is_sweeping(self) -> bool:
        return self._last_step() == "sweep started"

    def is_waiting_for_another(self) -> bool:
        return self._last_step() == "waiting for another test"

    def _last_step(self) -> str | None:
        """Return the last of two steps of a watcher that has not ended."""
        steps = [each for each in self.watcher.events() if each in {"sweep started", "waiting for another test"}]
        return steps[-1] if steps and self.watcher.process.poll() is None else None

    def ended(self) -> dict[str, Any]:
        """Wait for the end of k6, which must have found all of its keys, and of its watcher; return the report."""
        assert self.k6
        assert self.k6.wait(120) in {PASSED, ABORTED}
        return self.watcher.report()

    def end(self) -> None:
        for process in filter(None, (self.k6, self.watcher.process)):
            process.kill()
            process.communicate()


Start = Callable[..., SharingTest]


@pytest.fixture
def start(cluster: LocalCluster) -> Iterator[Start]:
    """Start a watcher in a folder of its own."""
    with ExitStack() as at_the_end:

        def begin(prefix: str, *options: str) -> SharingTest:
            folder = Path(at_the_end.enter_context(TemporaryDirectory(prefix="k6-sweep-")))
            at_the_end.enter_context(k6_scripts(folder))
            started = SharingTest(cluster, folder, prefix, *options)
            at_the_end.callback(started.end)
            return started

        yield begin


def running(start: Start, prefix: str, *options: str, rounds: int = 5) -> SharingTest:
    """Start a test, and return when it has written its first key."""
    test = start(prefix, *options)
    until(test.is_registered)
    test.hold()
    test.run(rounds)
    until(lambda: test.watcher.says("k6 is running"))
    return test


def sweep(cluster: LocalCluster, *options: str, minutes: int = 0) -> Ended:
    """Run `k6-sweep run`, with a clock that is ahead."""
    if minutes and not (faketime := shutil.which("faketime")):
        pytest.skip("needs faketime (Debian: faketime)")
    words = [sys.executable, "-m", "k6_sweep", "run", "--redis-url", cluster.url, *options]
    if not minutes:
        return k6_sweep(*words[3:])
    done = subprocess.run([str(faketime), "-f", f"+{minutes}m", *words], capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return Ended(done.returncode, {}, done.stderr.decode())


def test_the_last_one_out_sweeps(cluster: LocalCluster, start: Start) -> None:
    """The first test to end hands over to the second, by name; the second deletes the keys of both."""
    first, second = running(start, "test:a:"), running(start, "test:b:")
    for command in ("tests", "check"):
        shown = k6_sweep(command, "--redis-url", cluster.url, "--pattern", "test:*")
        assert (shown.report["status"], shown.report["warnings"]) == ("ready", [])
        states = [(each["state"], each["patterns"], each["sweeps"]) for each in shown.report["tests"]]
        assert states == [("running", ["test:*"], True)] * 2
    refused = sweep(cluster, "--pattern", "test:a:*")
    assert (refused.code, refused.report["status"]) == (4, "refused")
    assert "is running, and a sweep would delete its keys" in refused.report["errors"][0]
    assert sweep(cluster, "--pattern", "other:*").report["status"] == "complete"
    first.release()
    report = first.ended()
    assert (report["status"], report["deleted"]) == ("handed-over", 0)
    assert "(since " in report["handed_over_to"]
    assert first.watcher.process.returncode == 0
    second.release()
    report = second.ended()
    assert (report["status"], report["deleted"], report["warnings"]) == ("complete", 10, [])
    assert keys_of(cluster.primaries) == set()


def test_it_waits_for_a_test_that_deletes_less(cluster: LocalCluster, start: Start) -> None:
    """A test whose patterns are wider than the other's waits for its end, then sweeps."""
    wide, narrow = running(start, "test:a:"), running(start, "test:b:", "--pattern", "test:b:*", "--keep", "test:b:0")
    wide.release()
    until(lambda: wide.watcher.says("waiting for another test"))
    assert wide.watcher.still_waits()
    narrow.release()
    assert narrow.ended()["status"] in {"complete", "handed-over"}
    assert wide.ended()["status"] == "complete"
    assert keys_of(cluster.primaries) == set()


def test_a_wait_ends_with_max_wait(cluster: LocalCluster, start: Start) -> None:
    """After --max-wait the watcher names the test that is in the way; the next sweep deletes the keys of both."""
    preserving = running(start, "test:b:", "--when", "success")
    other = running(start, "test:a:", "--max-wait", "3")
    other.release()
    report = other.ended()
    assert (report["status"], other.watcher.process.returncode) == ("incomplete", 3)
    assert "still runs and uses some of the same keys" in report["errors"][0]
    preserving.release()
    assert preserving.ended()["status"] == "complete"
    assert keys_of(cluster.primaries) == set()


def test_what_is_owed_is_not_forgotten(cluster: LocalCluster, start: Start) -> None:
    """If the heir is killed, the register has the debt: a sweep of fewer keys names it, one of the same settles it."""
    first, heir = running(start, "test:a:"), running(start, "test:b:")
    first.release()
    assert first.ended()["status"] == "handed-over"
    heir.watcher.process.kill()
    heir.release()
    assert heir.k6
    assert heir.k6.wait(60) == PASSED
    assert sweep(cluster, "--pattern", "test:*").report["status"] == "refused"  # it may still live
    sweep(cluster, "--pattern", "test:a:0", minutes=15)
    assert len(keys_of(cluster.primaries)) == 9 + 2  # the other keys, and the two sets with the debt
    sweep(cluster, "--pattern", "test:*", minutes=15)
    assert keys_of(cluster.primaries) == set()


@pytest.mark.parametrize("guard", [("--require-marker", "absent"), ("--max-keys", "1")], ids=lambda guard: guard[0])
def test_a_refused_sweep_is_no_running_test(cluster: LocalCluster, start: Start, guard: tuple[str, str]) -> None:
    """If a guard refuses its sweep, a test is over for the others, and its sweep is owed."""
    refused = running(start, "test:a:", *guard)
    refused.release()
    assert refused.ended()["status"] == "refused"
    shown = k6_sweep("tests", "--redis-url", cluster.url, "--pattern", "test:*")
    assert [each["state"] for each in shown.report["tests"]] == ["owed"]
    other = running(start, "test:b:")
    other.release()
    assert other.ended()["status"] == "complete"
    assert keys_of(cluster.primaries) == set()


def test_a_full_redis_is_swept_all_the_same(cluster: LocalCluster, start: Start) -> None:
    """If Redis has no memory for the register, the watcher logs that once, and sweeps at k6's end."""
    write_keys(cluster, (b"test:%d" % number for number in range(100)))
    try:
        for node in cluster.primaries:
            node.ask("CONFIG", "SET", "maxmemory", "1")
        test = start("test:a:")
        until(lambda: test.watcher.says("register of tests not usable"))
        test.run(1, script="sleep.js")
        report = test.ended()
    finally:
        for node in cluster.primaries:
            node.ask("CONFIG", "SET", "maxmemory", "0")
    assert (report["status"], report["deleted"]) == ("complete", 100)
    assert test.watcher.events().count("register of tests not usable") == 1
    assert keys_of(cluster.primaries) == set()


def test_a_restarted_watcher_is_the_same_test(cluster: LocalCluster, start: Start) -> None:
    """A watcher that is killed and started again in its pod renews its own entry, and does not hand over to itself."""
    test = start("test:a:")
    until(test.is_registered)
    test.restart_the_watcher()
    until(test.is_registered)
    (entry,) = k6_sweep("tests", "--redis-url", cluster.url, "--pattern", "test:*").report["tests"]
    assert entry["state"] == "running"
    test.run(3)
    assert test.ended()["status"] == "complete"
    assert keys_of(cluster.primaries) == set()


def test_a_register_that_is_away_at_k6s_end(small_cluster: LocalCluster) -> None:
    """A watcher whose test is registered does not sweep before it has looked, however long the register is away."""
    with TemporaryDirectory(prefix="k6-sweep-") as name, ExitStack() as at_the_end:
        folder = Path(name)
        at_the_end.enter_context(k6_scripts(folder))
        test = SharingTest(small_cluster, folder, "test:a:")
        at_the_end.callback(test.end)
        until(test.is_registered)
        write_keys(small_cluster, (b"test:%d" % number for number in range(100)))
        test.hold()
        test.run(1, script="sleep.js")
        until(lambda: test.watcher.says("k6 is running"))
        holder = next(node for node in small_cluster.primaries if REGISTER in all_keys(node))
        holder.process.send_signal(signal.SIGSTOP)
        at_the_end.callback(holder.process.send_signal, signal.SIGCONT)
        test.release()
        until(lambda: test.watcher.says("sweep started"))
        time.sleep(8)
        holder.process.send_signal(signal.SIGCONT)
        report = test.ended()
        assert (report["status"], report["deleted"]) == ("complete", 100)
        assert not test.watcher.says("register of tests not usable")
        assert keys_of(small_cluster.primaries) == set()


@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_no_story_disturbs_a_running_test(seed: int, cluster: LocalCluster, start: Start) -> None:
    """Three tests overlap in any way; all of their checks pass, and at the end no key is left.

    One of them may be aborted, or its watcher killed with SIGKILL at any moment. Then its entry must expire first.
    """
    chance = random.Random(seed)
    tests: list[SharingTest] = []
    killed = chance.choice([None, None, 0, 1, 2])
    aborted = chance.choice([None, None, 0, 1, 2])
    for number in range(3):
        prefix = f"test:{'abc'[number]}:"
        pattern = chance.choice(["test:*", "test:*", f"{prefix}*", "test:[abc]:*"])
        test = start(prefix, "--pattern", pattern)
        tests.append(test)
        if number == killed and chance.random() < 0.3:
            time.sleep(chance.random() / 2)
            test.watcher.process.kill()
        else:
            until(test.is_registered)
        until(lambda: not any(each.is_sweeping() for each in tests))  # a test that begins meanwhile may lose keys
        test.run(chance.randrange(5, 25), alone=number == killed)
        time.sleep(chance.random() * 1.5)
    if aborted is not None:
        aborting = tests[aborted]
        assert aborting.k6
        # Not in the first moments of k6, before it handles signals.
        until(lambda: aborting.has_written() or aborting.has_ended())
        until(lambda: aborted == killed or aborting.watcher.says("k6 is running"))
        aborting.k6.send_signal(signal.SIGINT)
    if killed is not None:
        time.sleep(chance.random())
        tests[killed].watcher.process.kill()
    for test in tests:
        assert test.k6
        assert test.k6.wait(120) in {PASSED, ABORTED}
    for test in tests[:killed] + tests[killed + 1 :] if killed is not None else ():
        # It may wait for the dead one, whose entry lasts ten minutes: stop it, as a person would.
        until(lambda: test.watcher.process.poll() is not None or test.is_waiting_for_another())  # noqa: B023  # called in the same iteration
        test.watcher.process.send_signal(signal.SIGINT)
    allowed = {"complete", "handed-over"} | ({"incomplete"} if killed is not None else set())
    for number, test in enumerate(tests):
        if number != killed:
            assert test.ended()["status"] in allowed
    if killed is not None:
        sweep(cluster, "--pattern", "test:*", minutes=15)
    assert keys_of(cluster.primaries) == set()
