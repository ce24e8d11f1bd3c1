"""A handle holds one process until its end, and never another process with the same pid."""

import subprocess
import sys
import time

import psutil
import pytest

from k6_sweep.watch.pidfd import Gone, ProcessHandle, kernel_tells_exit_codes


def test_a_handle_ends_with_its_process() -> None:
    """A handle becomes readable at the end of its process and has the exit code, if the kernel gives it."""
    child = subprocess.Popen([sys.executable, "-c", "raise SystemExit(42)"])
    handle = ProcessHandle.open(psutil.Process(child.pid))
    child.wait()
    assert handle.exit_code() == (42 if kernel_tells_exit_codes() else None)
    handle.close()


def test_a_process_that_is_gone_cannot_be_held() -> None:
    """A process that ended before k6-sweep opened its handle raises Gone."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    process = psutil.Process(child.pid)
    child.wait()
    with pytest.raises(Gone):
        ProcessHandle.open(process)


def test_a_number_that_passed_to_another_process_is_not_held() -> None:
    """A process with the same pid but another creation time is not held."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    stranger = psutil.Process(child.pid)
    stranger._ident = (child.pid, time.time() - 1e6)  # type: ignore[attr-defined]  # psutil's memory of an older process
    with pytest.raises(Gone):
        ProcessHandle.open(stranger)
    child.kill()
    child.wait()
