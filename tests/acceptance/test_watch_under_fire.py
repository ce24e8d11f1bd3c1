"""`k6-sweep watch` with difficult processes, clocks and /proc."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from k6_sweep.demo.servers import Node
from tests.acceptance.pod import K6, Pod, Sidecar, private_k6, start_sidecar
from tests.acceptance.scripts import HOLD
from tests.acceptance.test_watch_in_a_pod import assert_swept, k6_run
from tests.support import until

StartSidecar = Callable[..., Sidecar]

MANY = """
import os, signal, time
for _ in range(3000):
    if not os.fork():
        signal.pause()
print("started", flush=True)
signal.pause()
"""


def test_the_number_of_an_ended_k6_that_is_used_again(
    pod: Pod, sidecar_in: StartSidecar, folder: Path, redis_node: Node
) -> None:
    """The sidecar does not wait for a foreign process that reuses the pid of k6's container."""
    k6 = pod.container(*k6_run(folder), env=os.environ | {"SECONDS": "600"})
    sidecar = sidecar_in()
    until(lambda: sidecar.says("k6 is running"))
    number, process = pod.named("k6")
    ours = next(each for each in pod.processes().values() if "k6_sweep" in each.cmdline())
    ours.suspend()
    process.kill()
    k6.wait()
    script = f"echo {number - 1} > /proc/sys/kernel/ns_last_pid; sleep 600 & wait"
    stranger = pod.container("sh", "-c", script, uid=None)
    until(lambda: number in pod.processes() and pod.processes()[number].name() == "sleep")
    ours.resume()
    sidecar.process.send_signal(signal.SIGCONT)  # nsenter stops with its child
    assert_swept(sidecar.report(), redis_node)
    assert stranger.poll() is None
    assert pod.processes()[number].name() == "sleep"


def test_many_short_lived_decoys(pod: Pod, sidecar_in: StartSidecar, folder: Path, redis_node: Node) -> None:
    """Hundreds of processes a minute that only look like k6 are never taken for a load test."""
    decoys = f"while :; do {K6} version >/dev/null; sh -c ': k6 run'; pgrep -f 'k6 run' >/dev/null; sleep 0.1; done"
    pod.container("sh", "-c", decoys)
    sidecar = sidecar_in()
    assert sidecar.still_waits(4)
    assert not sidecar.says("k6 is running")
    pod.container(*k6_run(folder))
    assert_swept(sidecar.report(), redis_node)


@pytest.mark.usefixtures("unmeasured")
def test_among_three_thousand_processes(pod: Pod, sidecar_in: StartSidecar, folder: Path, redis_node: Node) -> None:
    """The sidecar finds one k6 among thousands of processes, and sees its end."""
    crowd = pod.container(sys.executable, "-c", MANY, uid=0, stdout=subprocess.PIPE)
    assert crowd.stdout
    assert crowd.stdout.readline() == b"started\n"
    sidecar = sidecar_in()
    k6 = pod.container(*k6_run(folder))
    until(lambda: sidecar.says("k6 is running"))
    assert k6.wait() == 0
    assert_swept(sidecar.report(), redis_node)
    crowd.stdout.close()


def test_a_stopped_k6_has_not_ended(pod: Pod, sidecar_in: StartSidecar, folder: Path, redis_node: Node) -> None:
    """The sidecar waits for a stopped k6 until it continues and ends."""
    (folder / HOLD).touch()
    k6 = pod.container(*k6_run(folder))
    sidecar = sidecar_in()
    until(lambda: sidecar.says("k6 is running"))
    _, process = pod.named("k6")
    process.suspend()
    assert sidecar.still_waits(3)
    (folder / HOLD).unlink()
    process.resume()
    k6.send_signal(signal.SIGCONT)  # nsenter stops with its child
    k6.wait()
    assert_swept(sidecar.report(), redis_node)


@pytest.mark.parametrize("option", ["hidepid=1", "hidepid=2"])
def test_hidden_processes_are_a_settings_error(option: str, pod: Pod, sidecar_in: StartSidecar) -> None:
    """If /proc hides other users' processes, the sidecar fails at once, and does not wait for k6."""
    assert pod.container("mount", "-o", f"remount,{option}", "/proc", uid=None).wait() == 0
    sidecar = sidecar_in()
    report = sidecar.report()
    assert (sidecar.process.returncode, report["status"]) == (2, "error")
    assert "/proc is mounted with hidepid" in report["errors"][0]


def test_a_clock_that_jumps(folder: Path, redis_url: str, redis_node: Node) -> None:
    """A clock that jumps ten years forward and back changes nothing: durations do not depend on it."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        pytest.skip("needs libfaketime (Debian: faketime), to set the clock of one process")
    clock = folder / "clock"
    clock.write_text("+0")
    private = private_k6(folder)
    sidecar = start_sidecar(
        folder,
        redis_url,
        *("--k6-process", private.name, "--max-wait", "600"),
        env={
            "KUBERNETES_SERVICE_HOST": "",
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        },
    )
    (folder / HOLD).touch()
    k6 = subprocess.Popen([private, *k6_run(folder)[1:]])
    until(lambda: sidecar.says("k6 is running"))
    for jump in ("+10y", "-5y", "+0"):
        clock.write_text(jump)
        assert sidecar.still_waits(0.5)
    clock.write_text("+10y")
    (folder / HOLD).unlink()
    k6.wait()
    report = sidecar.report()
    assert_swept(report, redis_node)
    assert report["seconds"] < 60
    assert int(report["k6"]["ended_at"][:4]) >= time.gmtime().tm_year + 9  # the clock did jump
