"""What is k6 and what only looks like it; the rest of the watch is tested with real processes."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from k6_sweep.watch.find import is_k6, own_lineage
from k6_sweep.watch.pidfd import Gone, ProcessHandle, kernel_tells_exit_codes


@pytest.mark.parametrize(
    ("name", "cmdline", "expected"),
    [
        ("k6", "k6 run script.js", True),
        ("k6", "/usr/bin/k6 run script.js", True),
        ("k6", "k6 -v run script.js", True),
        ("k6", "k6 --config run.json run script.js", True),
        ("k6", "k6 cloud run script.js", True),
        ("k6", "k6 cloud script.js", True),
        ("main", "/opt/k6 run script.js", True),
        ("k6", "k6 version", False),
        ("k6", "k6 inspect run.js", False),
        ("k6", "k6 archive run", False),
        ("k6", "k6", False),
        ("k6", "", False),
        ("sh", "sh -c k6 run script.js", False),
        ("pgrep", "pgrep -f k6 run", False),
        ("k6-sweep", "k6-sweep run", False),
        ("k6-operator", "/k6-operator run", False),
    ],
)
def test_is_k6(name: str, cmdline: str, expected: bool) -> None:
    """k6 is known by its own name and by the subcommand that runs a test."""
    assert is_k6(name, cmdline.split(), "k6") is expected


def test_another_name_for_k6() -> None:
    """A k6 that was built under another name is known by that."""
    assert is_k6("xk6", ["xk6", "run"], "xk6")
    assert not is_k6("k6", ["k6", "run"], "xk6")


def test_our_lineage() -> None:
    """We and all above us are ours."""
    assert {os.getpid(), os.getppid()} <= own_lineage()


def test_a_handle_ends_with_its_process() -> None:
    """A handle becomes readable at the end of its process and knows the exit code, where the kernel tells it."""
    child = subprocess.Popen([sys.executable, "-c", "raise SystemExit(42)"])
    handle = ProcessHandle.open(psutil.Process(child.pid))
    child.wait()
    assert handle.exit_code() == (42 if kernel_tells_exit_codes() else None)
    handle.close()


def test_a_process_that_is_gone_cannot_be_held() -> None:
    """What ended before we took hold of it is Gone."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    process = psutil.Process(child.pid)
    child.wait()
    with pytest.raises(Gone):
        ProcessHandle.open(process)


def test_a_number_that_passed_to_another_process_is_not_held() -> None:
    """A process that was created at another time under the same number is a stranger."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    stranger = psutil.Process(child.pid)
    stranger._ident = (child.pid, time.time() - 1e6)  # type: ignore[attr-defined]  # as psutil remembers an older process
    with pytest.raises(Gone):
        ProcessHandle.open(stranger)
    child.kill()
    child.wait()
