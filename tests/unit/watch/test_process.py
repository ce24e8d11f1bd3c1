"""The watch on a kernel without pidfd, and with a k6 that ends before its handle is open."""

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil

from k6_sweep.budget import Budget
from k6_sweep.lifecycle import Events
from k6_sweep.watch.outcome import K6Outcome
from k6_sweep.watch.pidfd import Gone, PidfdUnsupportedError, ProcessHandle
from k6_sweep.watch.process import ProcessWatch
from tests.support import quiet_log, until

PATIENT = Budget(timeout=60)


STAND_IN = """
import pathlib, sys, time
go, done = map(pathlib.Path, sys.argv[2:])
while not go.exists():
    time.sleep(0.02)
time.sleep(0.5)
done.touch()
"""


def start_stand_in(name: str, folder: Path) -> tuple[Path, Path]:
    """Start a process that looks like `k6 run`, without a parent that reaps it.

    Returns:
        The file that lets it end, and the file that it creates at its end."""
    go, done = folder / "go", folder / "done"
    command = f"exec -a {name} {shlex.join([sys.executable, '-c', STAND_IN, 'run', str(go), str(done)])}"
    subprocess.run(["setsid", "--fork", "bash", "-c", command], check=True)
    until(lambda: any((process.info["cmdline"] or [])[:1] == [name] for process in psutil.process_iter(["cmdline"])))
    return go, done


def watch(name: str, hold: Callable[[psutil.Process], ProcessHandle], budget: Budget = PATIENT) -> K6Outcome:
    with Events() as events:
        return ProcessWatch(name, lambda: budget, events, quiet_log(), hold).run()


def test_without_pidfd_the_end_is_looked_for(tmp_path: Path) -> None:
    """On a kernel without pidfd the watch still sees k6's end, with an unknown exit code."""
    go, done = start_stand_in("k6-without-pidfd", tmp_path)

    def unsupported(_: psutil.Process) -> ProcessHandle:
        go.touch()
        raise PidfdUnsupportedError

    outcome = watch("k6-without-pidfd", unsupported)
    assert done.exists()
    assert (outcome.seen, outcome.ended, outcome.exit_code) == (True, True, None)


def test_a_k6_that_was_missed_may_be_followed_by_another(tmp_path: Path) -> None:
    """If a k6 ends before its handle is open, the watch waits for its successor before the sweep."""
    held = []
    (tmp_path / "second").mkdir()

    def gone_at_first(process: psutil.Process) -> ProcessHandle:
        held.append(process)
        if len(held) == 1:
            process.kill()
            process.wait()
            start_stand_in("k6-that-follows", tmp_path / "second")
            raise Gone
        (tmp_path / "second" / "go").touch()
        return ProcessHandle.open(process)

    start_stand_in("k6-that-follows", tmp_path)
    outcome = watch("k6-that-follows", gone_at_first)
    assert (tmp_path / "second" / "done").exists()
    assert len(held) == 2
    assert outcome.ended


def test_max_wait_ends_the_wait(tmp_path: Path) -> None:
    """After --max-wait the wait ends, and the outcome shows a k6 that still runs."""
    go, done = start_stand_in("k6-too-long", tmp_path)
    outcome = watch("k6-too-long", ProcessHandle.open, Budget(timeout=60, max_wait=0.5))
    assert not done.exists()
    go.touch()
    assert (outcome.seen, outcome.ended) == (True, False)
