"""A process is held from its number to its end, and no stranger in its place."""

import subprocess
import sys
import time

import psutil
import pytest

from k6_sweep.watch.pidfd import Gone, ProcessHandle, kernel_tells_exit_codes


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
