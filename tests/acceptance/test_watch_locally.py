"""`k6-sweep watch` outside a pod, where k6's ancestors may never end."""

import compileall
import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

import k6_sweep as k6_sweep_package
from k6_sweep.demo.servers import Node
from k6_sweep.watch.pidfd import kernel_tells_exit_codes
from tests.acceptance.command import k6_sweep, make_older
from tests.acceptance.pod import Sidecar, private_k6, start_sidecar, watch_command
from tests.support import until

LOCALLY = {"KUBERNETES_SERVICE_HOST": ""}


@pytest.fixture
def name(folder: Path) -> str:
    """A name for k6 that no other test uses."""
    return private_k6(folder).name


@pytest.fixture
def k6(folder: Path, name: str) -> list[str]:
    return [
        str(folder / name),
        "run",
        "--quiet",
        "--no-usage-report",
        "--address",
        "localhost:0",
        str(folder / "sleep.js"),
    ]


@pytest.fixture
def sidecar(folder: Path, redis_url: str, name: str) -> Iterator[Sidecar]:
    started = start_sidecar(folder, redis_url, "--k6-process", name, env=LOCALLY)
    yield started
    started.process.kill()
    started.process.communicate()


def assert_swept(sidecar: Sidecar, node: Node) -> dict[str, object]:
    report = sidecar.report()
    assert (report["status"], report["deleted"]) == ("complete", 1)
    assert node.ask("KEYS", "*") == [b"user:1"]
    k6: dict[str, object] = report["k6"]
    return k6


def test_under_an_agent_that_lives_on(k6: list[str], sidecar: Sidecar, folder: Path, redis_node: Node) -> None:
    """The sidecar does not wait for a CI agent that started k6 and goes on running."""
    body = f"import subprocess, time; subprocess.run({k6!r}); time.sleep(600)"
    agent = subprocess.Popen([sys.executable, "-c", body], cwd=folder)
    assert_swept(sidecar, redis_node)
    assert agent.poll() is None
    agent.kill()
    agent.wait()


def test_a_snapshot_may_become_old_while_k6_runs(
    k6: list[str], name: str, folder: Path, redis_node: Node, redis_url: str
) -> None:
    """The age of a snapshot counts when `watch` starts to wait; a soak test may then run for days."""
    keys = folder / "keys"
    assert k6_sweep("snapshot", "--redis-url", redis_url, "--pattern", "test:*", "--out", str(keys)).code == 0
    options = ("--k6-process", name, "--preserve-existing", str(keys))
    sidecar = start_sidecar(folder, redis_url, *options, env=LOCALLY)
    make_older(keys, timedelta(days=10))
    redis_node.ask("SET", "test:2", "x")
    subprocess.run(k6, cwd=folder, check=True)
    report = sidecar.report()
    assert (report["status"], report["deleted"], report["preserved"]) == ("complete", 1, 1)
    assert sorted(redis_node.ask("KEYS", "*")) == [b"test:1", b"user:1"]


def test_under_make(k6: list[str], name: str, folder: Path, redis_node: Node, redis_url: str) -> None:
    """With k6 and the sidecar in one makefile, the sidecar ends after k6, and make after both."""
    watch = f"{shlex.join(watch_command(redis_url, folder / 'message', '--k6-process', name))} 2>log0"
    (folder / "Makefile").write_text(f"all: test clean\ntest:\n\t{shlex.join(k6)}\nclean:\n\t{watch}\n")
    subprocess.run(["make", "--jobs=2", "all"], cwd=folder, check=True, env=os.environ | LOCALLY)
    assert redis_node.ask("KEYS", "*") == [b"user:1"]


@pytest.mark.skipif(not shutil.which("tmux"), reason="needs tmux (Debian: tmux)")
def test_in_another_tmux_pane(k6: list[str], sidecar: Sidecar, folder: Path, redis_node: Node) -> None:
    """The sidecar waits for a k6 in a tmux pane, but not for the tmux server."""
    tmux = ["tmux", "-S", str(folder / "tmux")]
    subprocess.run([*tmux, "new-session", "-d", f"{shlex.join(k6)}; sleep 600"], check=True)
    try:
        assert_swept(sidecar, redis_node)
        subprocess.run([*tmux, "has-session"], check=True)
    finally:
        subprocess.run([*tmux, "kill-server"], check=True)


def test_a_zombie_that_is_not_reaped_has_ended(k6: list[str], sidecar: Sidecar, folder: Path, redis_node: Node) -> None:
    """A k6 that its parent never reaps counts as ended, with an unknown exit code."""
    body = f"import subprocess, time; k6 = subprocess.Popen({k6!r}); time.sleep(600)"
    parent = subprocess.Popen([sys.executable, "-c", body], cwd=folder)
    outcome = assert_swept(sidecar, redis_node)
    (child,) = psutil.Process(parent.pid).children()
    assert child.status() == psutil.STATUS_ZOMBIE
    assert (outcome["ended"], outcome["exit_code"]) == (True, None)
    parent.kill()
    parent.wait()


def test_the_exit_code_of_a_process_that_is_not_ours(k6: list[str], sidecar: Sidecar, redis_node: Node) -> None:
    """The report has the exit code of a k6 that another process started, if the kernel gives it."""
    body = f"import subprocess; subprocess.run({k6!r})"
    subprocess.run([sys.executable, "-c", body], check=True)
    outcome = assert_swept(sidecar, redis_node)
    assert outcome["exit_code"] == (0 if kernel_tells_exit_codes() else None)


@pytest.fixture
def compiled() -> None:
    """What the sidecar loads has its bytecode, as in the image; to compile it takes 4 MiB."""
    for package in (k6_sweep_package, psutil):
        compileall.compile_dir(Path(str(package.__file__)).parent, quiet=2)


@pytest.mark.usefixtures("unmeasured", "compiled")  # coverage costs more than the sidecar itself
def test_waiting_is_light(k6: list[str], sidecar: Sidecar, redis_node: Node) -> None:
    """While k6 runs, the sidecar loads neither redis nor kubernetes, and never wakes up."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to look into a process that is closed to its neighbours")
    run = subprocess.Popen(k6, env=os.environ | {"SECONDS": "600"})
    try:
        until(lambda: sidecar.says("k6 is running") and sidecar.says("preflight passed"))
        process = psutil.Process(sidecar.process.pid)

        def is_quiet() -> bool:
            before = process.num_ctx_switches().voluntary
            time.sleep(0.5)
            return process.num_ctx_switches().voluntary == before

        until(is_quiet)
        loaded = {Path(region.path).name for region in process.memory_maps()}
        before = process.num_ctx_switches().voluntary
        time.sleep(2)
        assert process.num_ctx_switches().voluntary == before
        heavy = ("hiredis", "ssl", "crypto", "pydantic", "yaml")
        assert not {name for name in loaded if any(each in name for each in heavy)}
        assert process.memory_info().rss < 22 * 2**20
    finally:
        run.kill()
        run.wait()
    assert_swept(sidecar, redis_node)


def test_the_environment_is_closed_to_neighbours(sidecar: Sidecar) -> None:
    """A process of the same user without capabilities cannot read the sidecar's environment or files."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to take its capabilities off")
    proc = f"/proc/{sidecar.process.pid}"
    peek = f"import os; os.listdir('{proc}/root'); open('{proc}/environ').read()"
    drop = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"]
    done = subprocess.run([*drop, sys.executable, "-c", peek], capture_output=True, text=True, check=False)
    assert "PermissionError" in done.stderr
    sidecar.process.send_signal(signal.SIGINT)
    assert sidecar.report()["status"] == "unseen"


def test_its_own_end_is_none_of_k6s(k6: list[str], name: str, folder: Path, redis_url: str, redis_node: Node) -> None:
    """If the sidecar is stopped while k6 runs on, it sweeps nothing, and the report has the reason."""
    options = ("--k6-process", name, "--grace-period", "2", "--timeout", "1")
    sidecar = start_sidecar(folder, redis_url, *options, env=LOCALLY)
    running = subprocess.Popen(k6, cwd=folder, env=os.environ | {"SECONDS": "600"})
    until(lambda: sidecar.says("k6 is running"))
    sidecar.process.send_signal(signal.SIGTERM)
    report = sidecar.report()
    running.kill()
    running.wait()
    assert (report["status"], report["deleted"], sidecar.process.returncode) == ("incomplete", 0, 3)
    assert "nothing was swept" in report["errors"][0]
    assert redis_node.ask("EXISTS", "test:1") == 1


@contextlib.contextmanager
def imitation(name: str, *words: str, user: int | None = None) -> Iterator[None]:
    """Run a process that looks like k6 with these arguments, and kill it at the end."""
    command = [name, "-c", "sleep 600; :", *words]
    process = subprocess.Popen(command, executable="/bin/sh", start_new_session=True, user=user)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # and its child
        process.wait()


def test_a_k6_that_only_starts_a_test_in_the_cloud(sidecar: Sidecar, name: str, redis_node: Node) -> None:
    """`k6 cloud --exit-on-running` ends before its test, so nothing is deleted, and the report has the reason."""
    with imitation(name, "cloud", "run", "--exit-on-running", "test.js"):
        report = sidecar.report()
    assert (report["status"], report["deleted"], sidecar.process.returncode) == ("unseen", 0, 6)
    assert "its end is not the test's end; remove --exit-on-running" in report["errors"][0]
    assert sorted(redis_node.ask("KEYS", "*")) == [b"test:1", b"user:1"]


def test_processes_have_no_container_names(folder: Path, redis_url: str, redis_node: Node) -> None:
    """--k6-container with the process detector is refused at once: the name would have no effect."""
    for options in (("--k6-container", "heavy"), ("--k6-container", "smoke", "--k6-container", "heavy")):
        sidecar = start_sidecar(folder, redis_url, *options, "--detector", "process", env=LOCALLY)
        report = sidecar.report()
        assert (report["status"], sidecar.process.returncode) == ("error", 2)
        assert "processes have no container names" in report["errors"][0]
    assert redis_node.ask("EXISTS", "test:1") == 1


def test_a_process_of_another_user_is_not_k6(name: str, folder: Path, redis_node: Node, redis_url: str) -> None:
    """With --k6-user, a neighbour's process named k6 neither starts the sweep nor holds it up."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to start processes of two users")
    sidecar = start_sidecar(folder, redis_url, "--k6-process", name, "--k6-user", "65534", env=LOCALLY)
    with imitation(name, "run", "test.js"):
        assert sidecar.still_waits()
        assert not sidecar.says("k6 is running")
    assert sidecar.still_waits()
    with imitation(name, "run", "test.js"):
        with imitation(name, "run", "test.js", user=65534):
            until(lambda: sidecar.says("k6 is running"))
        report = sidecar.report()
    assert (report["status"], report["deleted"]) == ("complete", 1)
    assert redis_node.ask("KEYS", "*") == [b"user:1"]
