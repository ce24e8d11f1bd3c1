"""Stands for a pod in Linux namespaces: containers' first processes have parent 0, as under a container runtime."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psutil

from k6_sweep.demo.servers import end_with_parent, find_k6
from tests.reports import report_in
from tests.support import until

K6 = find_k6()

# The real pause also only runs as pid 1 and reaps orphans.
_PAUSE = """
import ctypes, os, signal
ctypes.CDLL(None).prctl(15, b"pause")
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
while True:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
    signal.sigwait({signal.SIGCHLD})
"""

IN_POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}


def why_no_namespaces() -> str | None:
    """Return what this machine lacks to make a pod, or None if it lacks nothing."""
    missing = [tool for tool in ("unshare", "nsenter", "setpriv", "tini") if not shutil.which(tool)]
    if missing:
        return f"needs {', '.join(missing)} (Debian: util-linux, tini)"
    if os.geteuid() != 0:
        return "needs root, to make PID namespaces with several users"
    return None


def private_k6(folder: Path) -> Path:
    """Return a k6 with a name that no other k6 on this machine has: other tests run theirs at the same time."""
    private = folder / f"k6-{os.urandom(6).hex()}"
    private.symlink_to(K6)
    return private


@dataclass
class Pod:
    """A PID namespace with a pause process; use it as a context manager."""

    folder: Path
    infra: Sequence[str] = (sys.executable, "-c", _PAUSE)
    _unshare: subprocess.Popen[bytes] | None = None
    _containers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._unshare = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *self.infra],
            preexec_fn=end_with_parent,  # noqa: PLW1509  # it makes one system call
        )
        until(lambda: bool(self._first_processes()))
        return self

    def __exit__(self, *_: object) -> None:
        for first in self._first_processes():
            first.kill()  # the kernel kills all the others with it
        assert self._unshare
        for process in (self._unshare, *self._containers):
            process.kill()
            process.wait()
            if process.stdout:  # a test that failed earlier did not read the report
                process.stdout.close()

    def _first_processes(self) -> list[psutil.Process]:
        assert self._unshare
        return psutil.Process(self._unshare.pid).children() if self._unshare.poll() is None else []

    def container(
        self,
        *command: str,
        uid: int | None = 1001,
        env: Mapping[str, str] = os.environ,
        **options: Any,
    ) -> subprocess.Popen[bytes]:
        """Start a container: a process with an outside parent, its own user, and no capabilities.

        Without `uid` the user is the node's root, like that of the container runtime.
        """
        (first,) = self._first_processes()
        enter = ["nsenter", "--target", str(first.pid), "--pid", "--mount"]
        drop = [
            "setpriv",
            f"--reuid={uid}",
            f"--regid={uid}",
            "--clear-groups",
            "--inh-caps=-all",
            "--bounding-set=-all",
        ]
        home = {"HOME": str(self.folder)}  # k6 reads its configuration from there
        process = subprocess.Popen(
            [*enter, *(drop if uid is not None else ()), *command], env=dict(env) | home, **options
        )
        self._containers.append(process)
        return process

    def processes(self) -> dict[int, psutil.Process]:
        """Return the pod's processes by their pids inside the pod."""
        (first,) = self._first_processes()
        ours = Path(f"/proc/{first.pid}/ns/pid").readlink()
        found = {}
        for process in psutil.process_iter():
            home = Path(f"/proc/{process.pid}")
            try:
                if (home / "ns" / "pid").readlink() == ours:
                    numbers = next(line for line in (home / "status").read_text().splitlines() if "NSpid" in line)
                    found[int(numbers.split()[-1])] = process
            except (OSError, psutil.NoSuchProcess):
                continue
        return found

    def named(self, name: str) -> tuple[int, psutil.Process]:
        """Return the only process with this name, and its pid inside the pod."""
        (found,) = [(number, process) for number, process in self.processes().items() if process.name() == name]
        return found

    def sidecar_container(self, command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        """Start k6-sweep's container: not k6's user, no capabilities (uid 0: only root may read this Python)."""
        return self.container(*command, uid=0, **options)


@dataclass
class Sidecar:
    """A running `k6-sweep watch`."""

    process: subprocess.Popen[bytes]
    message_file: Path
    log_file: Path

    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.log_file.read_text().splitlines() if line.startswith("{")]

    def says(self, event: str) -> bool:
        return any(event in said for said in self.events())

    def status(self) -> str | None:
        text = self.message_file.read_text() if self.message_file.exists() else ""
        return report_in(text)["status"] if text else None

    def still_waits(self, seconds: float = 1.0) -> bool:
        """Return whether it is still waiting after these seconds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None or self.status() != "waiting":
                return False
            time.sleep(0.05)
        return True

    def signal(self, number: int) -> None:
        """Send a signal to the container's first process, as the kubelet does: nsenter forwards no signals."""
        first, *_ = psutil.Process(self.process.pid).children()
        first.send_signal(number)

    def report(self, timeout: float = 120) -> dict[str, Any]:
        """Wait for its end and return its printed report; the message must have the same status."""
        output, _ = self.process.communicate(timeout=timeout)
        report: dict[str, Any] = report_in(output)
        assert report_in(self.message_file.read_text())["status"] == report["status"]
        return report


def watch_command(redis_url: str, message: Path, *options: str) -> list[str]:
    usual = {"--redis-url": redis_url, "--settle": "0", "--termination-log": str(message), "--log-format": "json"}
    # An option given twice with different values is a problem.
    wanted = [word for name, text in usual.items() if name not in options for word in (name, text)]
    return [sys.executable, "-m", "k6_sweep", "watch", "--pattern", "test:*", *wanted, *options]


def start_sidecar(
    folder: Path,
    redis_url: str,
    *options: str,
    launch: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen,
    wrap: Callable[[list[str]], list[str]] = lambda command: command,
    env: Mapping[str, str | None] = {},
) -> Sidecar:
    """Start `k6-sweep watch` and return once it waits; `env` removes a variable whose value is None."""
    number = len(list(folder.glob("message*")))
    message, log = folder / f"message{number}", folder / f"log{number}"
    message.touch(mode=0o666)
    with log.open("wb") as stream:
        process = launch(
            wrap(watch_command(redis_url, message, *options)),
            stdout=subprocess.PIPE,
            stderr=stream,
            env={name: value for name, value in {**os.environ, **env}.items() if value is not None},
        )
    sidecar = Sidecar(process, message, log)
    until(lambda: sidecar.status() is not None or process.poll() is not None)
    return sidecar
