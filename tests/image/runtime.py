"""Stands for a node: its own containerd, whose containers share a process namespace like those of a pod."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from k6_sweep.demo.servers import end_with_parent
from tests.support import until

ARCHIVES = Path(__file__).parents[2] / ".tools" / "images"
DEFAULT_CAPABILITIES = (  # the defaults of ctr and Docker
    *("CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP"),
    *("NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE"),
)


def why_no_containers() -> str | None:
    """Return what this machine lacks to run the image, or None if it lacks nothing."""
    if not (ARCHIVES / "k6-sweep.tar").exists():
        return "needs the image: make image"
    if not shutil.which("containerd") or not shutil.which("runc"):
        return "needs containerd and runc"
    if os.geteuid() != 0:
        return "needs root, to run containers"
    return None


@dataclass
class Containerd:
    """A running containerd with the images."""

    folder: Path
    daemon: subprocess.Popen[bytes]
    pods: int = field(default=0)

    @classmethod
    def start(cls, folder: Path) -> Self:
        """Start it with all its files in this folder, and import the images."""
        unused = ("grpc.v1.cri", *(f"snapshotter.v1.{kind}" for kind in ("aufs", "btrfs", "devmapper", "zfs")))
        config = folder / "config.toml"
        config.write_text(
            f"""\
version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = [{", ".join(f'"io.containerd.{name}"' for name in unused)}]
[grpc]
address = "{folder}/socket"
[ttrpc]
address = "{folder}/ttrpc"
[plugins."io.containerd.internal.v1.opt"]
path = "{folder}/opt"
"""
        )
        with (folder / "log").open("wb") as log:
            daemon = subprocess.Popen(
                ["containerd", "--config", config],
                stdout=log,
                stderr=log,
                preexec_fn=end_with_parent,  # noqa: PLW1509  # it only makes one system call
            )
        started = cls(folder, daemon)
        until(lambda: started.ctr("version", check=False).returncode == 0)
        for archive in sorted(ARCHIVES.glob("*.tar")):
            started.ctr("images", "import", str(archive))
        return started

    def stop(self) -> None:
        """Stop it."""
        self.daemon.terminate()
        self.daemon.wait()

    def command(self, *arguments: str) -> list[str]:
        return ["ctr", "--address", f"{self.folder}/socket", "--namespace", "test", *arguments]

    def ctr(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one ctr command."""
        return subprocess.run(self.command(*arguments), check=check, capture_output=True, text=True)

    def pid(self, name: str) -> int | None:
        """Return the pid of a container's process, or None before it runs."""
        rows = [line.split() for line in self.ctr("task", "ls").stdout.splitlines()]
        return next((int(row[1]) for row in rows if row[0] == name and row[1].isdigit() and row[1] != "0"), None)


@dataclass
class ContainerPod:
    """A pause container, and others in its process namespace and the machine's network."""

    containerd: Containerd
    folder: Path
    shared: str = ""
    _containers: list[subprocess.Popen[str]] = field(default_factory=list)

    def __enter__(self) -> Self:
        fifos = ("--fifo-dir", str(self.folder))
        self.containerd.ctr(
            "run", "--detach", "--null-io", *fifos, "--net-host", "--cgroup", "", "localhost/pause:test", "pause"
        )
        self.shared = f"pid:/proc/{self.containerd.pid('pause')}/ns/pid"
        return self

    def __exit__(self, *_: object) -> None:
        """Kill the pause container; the kernel kills all the others with it."""
        self.containerd.ctr("task", "kill", "--signal", "KILL", "pause")
        for process in self._containers:
            process.communicate(timeout=30)
        until(lambda: self.containerd.ctr("task", "rm", "pause", check=False).returncode == 0)
        self.containerd.ctr("container", "rm", "pause")

    def container(
        self, image: str, name: str, *command: str, env: Mapping[str, str] = {}, mounts: Mapping[Path, str] = {}
    ) -> subprocess.Popen[str]:
        """Start a container as in a restricted pod: no capabilities, a read-only root, the image's own user."""
        process = subprocess.Popen(
            self.containerd.command(
                *("run", "--rm", "--with-ns", self.shared, "--net-host", "--read-only", "--seccomp", "--cgroup", ""),
                *(word for each in DEFAULT_CAPABILITIES for word in ("--cap-drop", f"CAP_{each}")),
                *(word for key, value in env.items() for word in ("--env", f"{key}={value}")),
                *(
                    word
                    for source, target in mounts.items()
                    for word in ("--mount", f"type=bind,src={source},dst={target},options=bind:rw")
                ),
                *(f"localhost/{image}:test", name, *command),
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._containers.append(process)
        return process
