"""The watch on a kernel without pidfd, and with a k6 that ends before its handle is open."""

import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from k6_sweep.budget import Budget
from k6_sweep.lifecycle import Events
from k6_sweep.watch.outcome import K6Outcome
from k6_sweep.watch.pidfd import Gone, PidfdUnsupportedError, ProcessHandle
from k6_sweep.watch.process import ProcessWatch
from tests.support import quiet_log

PATIENT = Budget(timeout=60)


def start_stand_in(name: str, seconds: float, folder: Path) -> Path:
    """Start a process that looks like `k6 run`, as an orphan; return the file that it creates at its end."""
    done = folder / f"{name}.done"
    body = f"import pathlib, time; time.sleep({seconds}); pathlib.Path({str(done)!r}).touch()"
    command = f"exec -a {name} {shlex.join([sys.executable, '-c', body, 'run'])}"
    subprocess.run(["setsid", "--fork", "bash", "-c", command], check=True)
    return done


def watch(name: str, hold: Callable[[psutil.Process], ProcessHandle], budget: Budget = PATIENT) -> K6Outcome:
    with Events() as events:
        return ProcessWatch(name, lambda: budget, events, quiet_log(), hold).run()


def test_without_pidfd_the_end_is_looked_for(tmp_path: Path) -> None:
    """Without pidfd the watch still sees the end; the exit code is unknown."""

    def unsupported(_: psutil.Process) -> ProcessHandle:
        raise PidfdUnsupportedError

    done = start_stand_in("k6-without-pidfd", 1.5, tmp_path)
    outcome = watch("k6-without-pidfd", unsupported)
    assert done.exists()
    assert (outcome.seen, outcome.ended, outcome.exit_code) == (True, True, None)


def test_a_k6_that_was_missed_may_be_followed_by_another(tmp_path: Path) -> None:
    """If a k6 ends before its handle is open, the watch waits for its successor before the sweep."""
    held = []

    def gone_at_first(process: psutil.Process) -> ProcessHandle:
        held.append(process)
        if len(held) == 1:
            process.kill()
            process.wait()
            start_stand_in("k6-that-follows", 1.0, tmp_path / "second")
            time.sleep(0.5)
            raise Gone
        return ProcessHandle.open(process)

    (tmp_path / "second").mkdir()
    start_stand_in("k6-that-follows", 60, tmp_path)
    outcome = watch("k6-that-follows", gone_at_first)
    assert (tmp_path / "second" / "k6-that-follows.done").exists()
    assert len(held) == 2
    assert outcome.ended


def test_max_wait_ends_the_wait(tmp_path: Path) -> None:
    """After --max-wait the outcome shows that k6 is still running."""
    done = start_stand_in("k6-too-long", 4, tmp_path)
    outcome = watch("k6-too-long", ProcessHandle.open, Budget(timeout=60, max_wait=0.5))
    assert not done.exists()
    assert (outcome.seen, outcome.ended) == (True, False)
