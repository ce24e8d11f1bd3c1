"""Stands for a pod, by Linux namespaces: containers' first processes have parent 0, as under a container runtime."""

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
from tests.support import until

K6 = find_k6()

# What the real pause does: be pid 1, reap orphans, do nothing else.
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
    """Say what this machine lacks to make a pod; None where it can."""
    missing = [tool for tool in ("unshare", "nsenter", "setpriv", "tini") if not shutil.which(tool)]
    if missing:
        return f"needs {', '.join(missing)} (Debian: util-linux, tini)"
    if os.geteuid() != 0:
        return "needs root, to make PID namespaces with several users"
    return None


def private_k6(folder: Path) -> Path:
    """Return a k6 with a name that no other k6 of this machine has: other tests run theirs at the same time."""
    private = folder / f"k6-{os.urandom(6).hex()}"
    private.symlink_to(K6)
    return private


@dataclass
class Pod:
    """A PID namespace with an infra process; use it as a context."""

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
            first.kill()  # the kernel ends all the others with it
        assert self._unshare
        for process in (self._unshare, *self._containers):
            process.kill()
            process.wait()
            if process.stdout:  # a test that failed before it read the report leaves its end open
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
        """Start a container: a process whose parent is outside, with a user of its own and no capabilities.

        Without a user it is the node's root, as the container runtime itself.
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
        home = {"HOME": str(self.folder)}  # k6 looks for its configuration there
        process = subprocess.Popen(
            [*enter, *(drop if uid is not None else ()), *command], env=dict(env) | home, **options
        )
        self._containers.append(process)
        return process

    def processes(self) -> dict[int, psutil.Process]:
        """Return the pod's processes by the numbers that they have inside."""
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
        """Return the one process of this name, and its number inside."""
        (found,) = [(number, process) for number, process in self.processes().items() if process.name() == name]
        return found

    def sidecar_container(self, command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        """Start ours: another user than k6's, no capabilities (uid 0, because this Python may be root's alone)."""
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
        return json.loads(text)["status"] if text else None

    def still_waits(self, seconds: float = 1.0) -> bool:
        """Whether it goes on waiting for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None or self.status() != "waiting":
                return False
            time.sleep(0.05)
        return True

    def signal(self, number: int) -> None:
        """Send a signal to the container's first process, as the kubelet does: nsenter hands none on."""
        first, *_ = psutil.Process(self.process.pid).children()
        first.send_signal(number)

    def report(self, timeout: float = 120) -> dict[str, Any]:
        """Wait for its end and return what it printed, which the message must repeat."""
        output, _ = self.process.communicate(timeout=timeout)
        report: dict[str, Any] = json.loads(output)
        assert json.loads(self.message_file.read_text())["status"] == report["status"]
        return report


def watch_command(redis_url: str, message: Path, *options: str) -> list[str]:
    wanted = [
        "--redis-url",
        redis_url,
        "--pattern",
        "test:*",
        "--termination-log",
        str(message),
        "--log-format",
        "json",
    ]
    return [sys.executable, "-m", "k6_sweep", "watch", *wanted, "--settle", "0", *options]


def start_sidecar(
    folder: Path,
    redis_url: str,
    *options: str,
    launch: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen,
    wrap: Callable[[list[str]], list[str]] = lambda command: command,
    env: Mapping[str, str | None] = {},
) -> Sidecar:
    """Start `k6-sweep watch` and wait until it waits; a variable that is None in `env` is taken away."""
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
