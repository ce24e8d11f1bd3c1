"""The parts of all benchmarks: a filled cluster, another client's waits, and the cost of a command."""

import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from k6_sweep.demo.keys import write_keys
from k6_sweep.demo.servers import LocalCluster, Node

PATTERNS = ("stream:*", "dedupe:*", "waiting_token:*", "reservation_token:*", "idempotency:*", "ratelimit:*", "queue:*")
PREFIXES = (*(pattern.encode()[:-1] for pattern in PATTERNS), b"user:", b"session:", b"order:")
HERE = Path(__file__).parent
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
"""The environment, in which Python may cache bytecode, as on any machine."""


def keys(count: int) -> Iterator[bytes]:
    """Yield keys of ten prefixes, always the same random ones; seven of the prefixes match."""
    chance = random.Random(20)
    for number in range(count):
        yield PREFIXES[int(chance.random() * len(PREFIXES))] + b"%d" % number


def fill(cluster: LocalCluster, count: int) -> int:
    """Write the keys to the emptied cluster; return the number of those that match."""
    for node in cluster.primaries:
        node.ask("FLUSHALL")
    write_keys(cluster, keys(count))
    swept = PREFIXES[: len(PATTERNS)]
    return sum(key.startswith(swept) for key in keys(count))


def total(nodes: Sequence[Node]) -> int:
    """Return the number of keys in the cluster."""
    return sum(node.ask("DBSIZE") for node in nodes)


@dataclass(frozen=True)
class Cost:
    """The cost of one command."""

    seconds: float
    client_cpu: float
    server_cpu: float
    peak_rss: float
    """The memory of the largest process in MiB."""
    p50: float
    p99: float
    worst: float
    """The milliseconds that another client waited for a GET during the command."""
    rate: float
    """The number of GETs that it could send in a second."""


class OtherClient:
    """Another client: asks each primary in turn, about a thousand times a second, and records its waits."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        ports = [str(node.port) for node in nodes]
        self._process = subprocess.Popen(
            [sys.executable, HERE / "other_client.py", *ports], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout
        self._process.stdout.readline()  # it has begun to ask

    def stop(self) -> list[float]:
        """Return the waits in milliseconds, sorted."""
        output, _ = self._process.communicate("stop\n")
        return sorted(float(word) for word in output.split())


def measure(command: Sequence[str | Path], cluster: LocalCluster, environment: Mapping[str, str] = ENVIRONMENT) -> Cost:
    """Run a command to its end, next to the other client.

    Raises:
        SystemExit: The command failed.
    """
    servers = [psutil.Process(node.process.pid) for node in cluster.primaries]
    other = OtherClient(cluster.primaries)
    before_servers = sum(sum(server.cpu_times()[:2]) for server in servers)
    started = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    after_servers = sum(sum(server.cpu_times()[:2]) for server in servers)
    waits = other.stop()
    assert process.stderr
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"{command} failed:\n{process.stderr.read().decode()}")
    return Cost(
        seconds=seconds,
        client_cpu=usage.ru_utime + usage.ru_stime,
        server_cpu=after_servers - before_servers,
        peak_rss=usage.ru_maxrss / 1024,
        p50=waits[len(waits) // 2],
        p99=waits[len(waits) * 99 // 100],
        worst=waits[-1],
        rate=len(waits) / seconds,
    )


def median(costs: Sequence[Cost]) -> Cost:
    """Return the median of each figure."""
    return Cost(*(statistics.median(getattr(cost, name) for cost in costs) for name in Cost.__dataclass_fields__))


def machine() -> str:
    """Return a description of this machine."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "unknown CPU",
    )
    memory, kernel = psutil.virtual_memory().total / 2**30, os.uname().release.split("-")[0]
    return f"{os.cpu_count()} cores of {model}, {memory:.0f} GiB, Linux {kernel}"
