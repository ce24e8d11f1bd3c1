"""`k6-sweep watch` beside a real k6, in a pod whose containers share a process namespace."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from k6_sweep.demo.servers import Node
from k6_sweep.watch.pidfd import kernel_tells_exit_codes
from tests.acceptance.pod import IN_POD, K6, Pod, Sidecar, start_sidecar, why_no_namespaces
from tests.acceptance.scripts import HOLD
from tests.support import until

StartSidecar = Callable[..., Sidecar]

TOLD = kernel_tells_exit_codes()


def k6_run(folder: Path, script: str = "sleep.js", *before: str) -> list[str]:
    return [K6, *before, "run", "--quiet", "--no-usage-report", "--address", "localhost:0", str(folder / script)]


def code(expected: int) -> int | None:
    """Return k6's exit code as the report has it on this kernel."""
    return expected if TOLD else None


def assert_swept(report: dict[str, object], node: Node) -> None:
    assert report["status"] == "complete"
    assert report["deleted"] == 1
    assert node.ask("KEYS", "*") == [b"user:1"]


WRAPPERS: dict[str, Callable[[list[str]], list[str]]] = {
    "direct": lambda k6: k6,
    "tini": lambda k6: ["tini", "-s", "--", *k6],
    "timeout": lambda k6: ["timeout", "60", *k6],
    "shell": lambda k6: ["sh", "-c", f"{shlex.join(k6)}; exit $?"],
    "two in a row": lambda k6: ["sh", "-c", f"{shlex.join(k6)} && {shlex.join(k6)}"],
    "background of a shell that waits": lambda k6: ["sh", "-c", f"{shlex.join(k6)} & wait $!"],
    "-v before run": lambda k6: [k6[0], "-v", *k6[1:]],
}


@pytest.mark.parametrize("wrapper", WRAPPERS.values(), ids=WRAPPERS.keys())
def test_waits_for_the_whole_container(
    wrapper: Callable[[list[str]], list[str]], pod: Pod, sidecar_in: StartSidecar, folder: Path, redis_node: Node
) -> None:
    """Whatever wraps k6, the sweep starts after the end of every k6 and of the container's first process."""
    sidecar = sidecar_in()
    container = pod.container(*wrapper(k6_run(folder)))
    until(lambda: sidecar.says("k6 is running"))
    while container.poll() is None:
        assert redis_node.ask("EXISTS", "test:1") == 1 or container.wait(timeout=1) == 0
        time.sleep(0.02)
    report = sidecar.report()
    assert_swept(report, redis_node)
    assert report["k6"]["ended"]
    assert report["k6"]["exit_code"] == code(0)


def test_a_failed_threshold_is_named(pod: Pod, sidecar_in: StartSidecar, folder: Path, redis_node: Node) -> None:
    """After failed thresholds the sweep runs, and the report has k6's 99 and the reason in words."""
    sidecar = sidecar_in()
    assert pod.container(*k6_run(folder, "failing.js")).wait() == 99
    report = sidecar.report()
    assert_swept(report, redis_node)
    assert report["k6"]["exit_code"] == code(99)
    assert report["k6"]["reason"] == ("thresholds failed" if TOLD else None)


def test_a_killed_k6_is_swept_after(pod: Pod, sidecar_in: StartSidecar, folder: Path, redis_node: Node) -> None:
    """After a SIGKILL, which the kernel also sends at an out-of-memory, the sweep runs and reports 137."""
    sidecar = sidecar_in()
    pod.container(*k6_run(folder), env=os.environ | {"SECONDS": "600"})
    until(lambda: sidecar.says("k6 is running"))
    assert sidecar.still_waits()
    _outside(K6).kill()
    report = sidecar.report()
    assert_swept(report, redis_node)
    assert report["k6"]["exit_code"] == code(137)


def _outside(name: str) -> psutil.Process:
    """Find the test's k6 as a process outside the pod."""
    mine = psutil.Process().children(recursive=True)
    (found,) = [process for process in mine if process.cmdline()[:1] == [name]]
    return found


def test_the_containers_code_is_reported_not_k6s(pod: Pod, sidecar_in: StartSidecar, folder: Path) -> None:
    """The report has the container's exit code, as the Job sees it, not k6's own."""
    sidecar = sidecar_in()
    pod.container("sh", "-c", f"{shlex.join(k6_run(folder))}; exit 42")
    assert sidecar.report()["k6"]["exit_code"] == code(42)


def test_a_container_that_outlives_k6_is_waited_for(
    pod: Pod, sidecar_in: StartSidecar, folder: Path, redis_node: Node
) -> None:
    """The sidecar waits for k6's shell after k6's end, because the shell may start another k6."""
    sidecar = sidecar_in()
    shell = pod.container("sh", "-c", f"{shlex.join(k6_run(folder))} & wait; read line", stdin=subprocess.PIPE)
    until(lambda: sidecar.says("waiting for the k6 container"))
    assert sidecar.still_waits()
    assert redis_node.ask("EXISTS", "test:1") == 1
    shell.communicate(b"go\n")
    assert_swept(sidecar.report(), redis_node)


def test_a_background_k6_that_outlives_its_shell_is_waited_for(
    pod: Pod, sidecar_in: StartSidecar, folder: Path, redis_node: Node
) -> None:
    """The sidecar waits for a k6 without its shell, whether the shell ended before or after the sidecar saw k6."""
    before = sidecar_in()
    (folder / HOLD).touch()
    shell = pod.container("sh", "-c", f"{shlex.join(k6_run(folder))} & sleep 1")
    until(lambda: before.says("k6 is running"))
    shell.wait()
    after = sidecar_in()
    until(lambda: after.says("k6 is running"))
    assert before.still_waits()
    assert after.still_waits()
    (folder / HOLD).unlink()
    assert before.report()["k6"]["ended"]
    assert after.report()["k6"]["ended"]
    assert redis_node.ask("KEYS", "*") == [b"user:1"]


def test_cloud_runs_count(pod: Pod, sidecar_in: StartSidecar, redis_node: Node) -> None:
    """The sidecar waits for `k6 cloud run` too."""
    sidecar = sidecar_in()
    stand_in = shlex.join([sys.executable, "-c", "import time; time.sleep(1.5)", "cloud", "run", "script.js"])
    pod.container("bash", "-c", f"exec -a k6 {stand_in}", uid=0)
    until(lambda: sidecar.says("k6 is running"))
    assert_swept(sidecar.report(), redis_node)


DECOYS = {
    "a shell that says k6": ["sh", "-c", "sleep 600; : k6 run script.js"],
    "an argument": [sys.executable, "-c", "import time; time.sleep(600)", "k6", "run"],
    "k6 that does something else": [
        "bash",
        "-c",
        f"exec -a k6 {sys.executable} -c 'import time; time.sleep(600)' version",
    ],
    "a name that begins alike": [
        "bash",
        "-c",
        f"exec -a k6-sweep {sys.executable} -c 'import time; time.sleep(600)' run",
    ],
}


@pytest.mark.parametrize("decoy", DECOYS.values(), ids=DECOYS.keys())
def test_a_decoy_is_not_k6(decoy: list[str], pod: Pod, sidecar_in: StartSidecar, redis_node: Node) -> None:
    """A process with "k6" only in its command line is not k6: k6 stays unseen, and no key is deleted."""
    pod.container(*decoy, uid=0)
    sidecar = sidecar_in("--start-timeout", "1")
    report = sidecar.report()
    assert (report["status"], report["deleted"], sidecar.process.returncode) == ("unseen", 0, 6)
    assert redis_node.ask("EXISTS", "test:1") == 1


def test_a_sidecar_that_looks_like_k6_itself(
    pod: Pod, sidecar_in: StartSidecar, folder: Path, redis_node: Node
) -> None:
    """The sidecar does not wait for itself if its own command line looks like "k6 … run"."""

    def as_k6(command: list[str]) -> list[str]:
        path = shlex.quote(":".join(sys.path))  # with another name Python does not find its environment
        return ["bash", "-c", f"PYTHONPATH={path} exec -a k6 {shlex.join([*command, '--k6-container', 'run'])}"]

    sidecar = sidecar_in(wrap=as_k6)
    assert sidecar.still_waits()
    pod.container(*k6_run(folder))
    assert_swept(sidecar.report(), redis_node)


def test_a_late_k6_is_waited_for(pod: Pod, sidecar_in: StartSidecar, folder: Path, redis_node: Node) -> None:
    """The sidecar sweeps nothing until k6 has started and ended, however late."""
    sidecar = sidecar_in()
    assert sidecar.still_waits(2.5)
    pod.container(*k6_run(folder))
    assert_swept(sidecar.report(), redis_node)


def test_several_k6_in_several_containers(pod: Pod, sidecar_in: StartSidecar, folder: Path, redis_node: Node) -> None:
    """The sidecar waits for all k6 of all containers, and reports the bad exit code."""
    first = pod.container("sh", "-c", f"{shlex.join(k6_run(folder))} & {shlex.join(k6_run(folder))} & wait")
    second = pod.container(*k6_run(folder), uid=1002, env=os.environ | {"SECONDS": "600"})
    until(lambda: _named_k6(pod) == 3)  # the sidecar's first look must find all three: it looks again after their end
    sidecar = sidecar_in()
    until(lambda: sum("k6 is running" in event for event in sidecar.events()) == 3)
    assert first.wait() == 0
    assert second.poll() is None
    assert sidecar.still_waits()
    _outside(K6).kill()
    second.wait()
    report = sidecar.report()
    assert_swept(report, redis_node)
    assert report["k6"]["exit_code"] == code(137)


def _named_k6(pod: Pod) -> int:
    """Count the pod's k6 processes; one that ends while it is looked at counts as none."""
    count = 0
    for process in pod.processes().values():
        with contextlib.suppress(psutil.NoSuchProcess):
            count += process.cmdline()[:1] == [K6]
    return count


def test_k6_as_pid_1_is_refused(folder: Path, redis_url: str, redis_node: Node) -> None:
    """In k6's own PID namespace the kernel kills the sidecar with k6, so it refuses and deletes nothing."""
    if reason := why_no_namespaces():
        pytest.skip(reason)
    with Pod(folder, infra=["env", "SECONDS=600", *k6_run(folder)]) as pod:
        until(lambda: _is_running_in(pod))
        sidecar = start_sidecar(folder, redis_url, launch=pod.sidecar_container, env=IN_POD)
        report = sidecar.report()
    assert (report["status"], sidecar.process.returncode) == ("refused", 4)
    assert "pid 1" in report["errors"][0]
    assert "shareProcessNamespace" in report["errors"][0]
    assert redis_node.ask("EXISTS", "test:1") == 1


def _is_running_in(pod: Pod) -> bool:
    return any(process.cmdline()[:1] == [K6] for process in pod._first_processes())


def test_host_processes_are_refused(pod: Pod, sidecar_in: StartSidecar, redis_node: Node) -> None:
    """With the node's processes in view (pid 2 is kthreadd) the sidecar refuses: it sees other pods' k6."""
    name_it = "import ctypes, time; ctypes.CDLL(None).prctl(15, b'kthreadd'); time.sleep(600)"
    pod.container(sys.executable, "-c", name_it, uid=0)
    until(lambda: any(process.name() == "kthreadd" for process in pod.processes().values()))
    sidecar = sidecar_in()
    report = sidecar.report()
    assert (report["status"], sidecar.process.returncode) == ("refused", 4)
    assert "hostPID" in report["errors"][0]
    assert redis_node.ask("EXISTS", "test:1") == 1


def test_an_unshared_namespace_is_a_settings_error(folder: Path, redis_url: str) -> None:
    """If the sidecar can see only its own container, it fails at once: it can never see k6."""
    if reason := why_no_namespaces():
        pytest.skip(reason)

    def alone(command: list[str]) -> list[str]:
        return ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *command]

    sidecar = start_sidecar(folder, redis_url, wrap=alone, env=IN_POD)
    report = sidecar.report()
    assert (report["status"], sidecar.process.returncode) == ("error", 2)
    assert "shareProcessNamespace" in report["errors"][0]


@pytest.mark.parametrize(
    ("when", "script", "status"),
    [
        ("success", "sleep.js", "complete"),
        ("success", "failing.js", "skipped"),
        ("failure", "failing.js", "complete"),
        ("failure", "sleep.js", "skipped"),
    ],
)
def test_when(
    when: str, script: str, status: str, pod: Pod, sidecar_in: StartSidecar, folder: Path, redis_node: Node
) -> None:
    """--when sweeps after the named outcome, and is a settings error on a kernel that hides exit codes."""
    sidecar = sidecar_in("--when", when)
    pod.container(*k6_run(folder, script))
    report = sidecar.report()
    if not TOLD:
        assert (report["status"], sidecar.process.returncode) == ("error", 2)
        return
    assert (report["status"], sidecar.process.returncode) == (status, 0)
    assert redis_node.ask("EXISTS", "test:1") == (0 if status == "complete" else 1)


def test_sigterm_waits_for_k6_within_the_grace_period(
    pod: Pod, sidecar_in: StartSidecar, folder: Path, redis_node: Node
) -> None:
    """After SIGTERM the sidecar waits for k6, which may run its teardown, and then sweeps."""
    sidecar = sidecar_in("--grace-period", "120", "--timeout", "10")
    (folder / HOLD).touch()
    pod.container(*k6_run(folder))
    until(lambda: sidecar.says("k6 is running"))
    sidecar.signal(signal.SIGTERM)
    assert sidecar.still_waits()
    (folder / HOLD).unlink()
    report = sidecar.report()
    assert_swept(report, redis_node)
    assert report["k6"]["ended"]


def test_sigterm_with_a_k6_that_does_not_end(
    pod: Pod, sidecar_in: StartSidecar, folder: Path, redis_node: Node
) -> None:
    """If k6 outlives the grace period's reserve, the sidecar sweeps, and the report is incomplete."""
    sidecar = sidecar_in("--grace-period", "24", "--timeout", "12")
    pod.container(*k6_run(folder), env=os.environ | {"SECONDS": "600"})
    until(lambda: sidecar.says("k6 is running"))
    sidecar.signal(signal.SIGTERM)
    report = sidecar.report()
    assert (report["status"], report["deleted"], sidecar.process.returncode) == ("incomplete", 1, 3)
    assert report["k6"]["ended"] is False
    # The register has the debt: k6 may still write.
    assert set(redis_node.ask("KEYS", "*")) == {b"user:1", b"{k6-sweep}runs", b"test:{k6-sweep}runs"}


def test_sigint_and_a_second_sigterm_end_the_wait(
    pod: Pod, sidecar_in: StartSidecar, folder: Path, redis_node: Node
) -> None:
    """SIGINT or a second SIGTERM ends the wait at once, without a sweep but with a report."""
    impatient, twice = sidecar_in("--grace-period", "60"), sidecar_in("--grace-period", "60")
    pod.container(*k6_run(folder), env=os.environ | {"SECONDS": "600"})
    until(lambda: impatient.says("k6 is running") and twice.says("k6 is running"))
    impatient.signal(signal.SIGINT)
    twice.signal(signal.SIGTERM)
    assert twice.still_waits()
    twice.signal(signal.SIGTERM)
    for sidecar in (impatient, twice):
        report = sidecar.report()
        assert (report["status"], report["deleted"], sidecar.process.returncode) == ("incomplete", 0, 3)
    assert redis_node.ask("EXISTS", "test:1") == 1


def test_sigterm_before_k6_is_unseen(sidecar_in: StartSidecar, redis_node: Node) -> None:
    """SIGTERM before the first k6 ends the sidecar as unseen, and no key is deleted."""
    sidecar = sidecar_in()
    sidecar.signal(signal.SIGTERM)
    report = sidecar.report()
    assert (report["status"], sidecar.process.returncode) == ("unseen", 6)
    assert redis_node.ask("EXISTS", "test:1") == 1


def test_a_native_sidecar_stays_until_sigterm(
    pod: Pod, sidecar_in: StartSidecar, folder: Path, redis_node: Node
) -> None:
    """A native sidecar writes its message, stays until SIGTERM, and then exits with its own code."""
    sidecar = sidecar_in("--native", "--start-timeout", "0")
    assert sidecar.still_waits()
    pod.container(*k6_run(folder))
    until(lambda: sidecar.status() == "complete")
    time.sleep(0.5)
    assert sidecar.process.poll() is None
    sidecar.signal(signal.SIGTERM)
    assert_swept(sidecar.report(), redis_node)
    assert sidecar.process.returncode == 0
