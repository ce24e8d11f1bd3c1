"""Measures `k6-sweep run` over networks with long and varying round trips, through proxies before the servers.

network.py [RUNS]      (default: the median of 3 runs)
"""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.measuring import PATTERNS, Cost, OtherClient, fill, machine, measure, median, total
from k6_sweep.demo.servers import LocalCluster, find_redis_server, local_cluster
from tests.slow_network import Way, behind, round_trip

WAYS: Sequence[tuple[str, Way | None, int]] = (
    ("none: loopback", None, 1_000_000),
    ("2 ms, each way 0 to 5 ms more", Way(delay=0.001, jitter=0.005), 650_000),
    ("6 ± 4 ms", Way(delay=0.001, jitter=0.004), 20_000),
    ("50 ms", Way(delay=0.025), 1_000_000),
    ("50 ms, each way 0 to 10 ms more", Way(delay=0.025, jitter=0.010), 650_000),
    ("300 ms", Way(delay=0.150), 1_000_000),
    ("20 ms, 2 MB/s", Way(delay=0.010, bandwidth=2_000_000), 300_000),
)
"""Each way with its name and the number of keys in the cluster."""
Command = Callable[[LocalCluster], list[str | Path]]
BY_HAND = 20_000
"""With this number of keys, the usual way by hand is measured as well; with more of them it would take too long."""


def main() -> None:
    """Run the benchmark and print its results."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    console = Console(highlight=False, width=140)
    table = Table(title=f"k6-sweep run, both passes; 3 primaries; median of {runs}; {machine()}")
    for heading in ("the way to the servers", "its shortest round trip ms", "keys", "seconds", "by hand is × slower"):
        table.add_column(heading, justify="left" if heading.startswith("the") else "right")
    for heading in ("client CPU s", "peak RSS MiB", "another client's p99 ms", "alone"):
        table.add_column(heading, justify="right")
    with local_cluster(find_redis_server()) as cluster:
        for name, way, count in WAYS:
            trips, alone, ours, by_hand = [], [], [], []
            for _ in range(runs):
                trip, quiet, cost = _measured(cluster, way, count, _ours)
                trips.append(trip)
                alone.append(quiet)
                ours.append(cost)
                console.print(f"[dim]{name}: {cost.seconds:.2f} s[/]")
                if count <= BY_HAND:
                    by_hand.append(_measured(cluster, way, count, _by_hand)[2])
            cost = median(ours)
            table.add_row(
                name,
                f"{statistics.median(trips) * 1000:.1f}",
                f"{count:,}",
                f"{cost.seconds:.2f}",
                f"{median(by_hand).seconds / cost.seconds:.2f}" if by_hand else "",
                f"{cost.client_cpu:.2f}",
                f"{cost.peak_rss:.0f}",
                f"{cost.p99:.2f}",
                f"{statistics.median(alone):.2f}",
            )
    console.print(table)


def _ours(cluster: LocalCluster) -> list[str | Path]:
    patterns = [word for pattern in PATTERNS for word in ("--pattern", pattern)]
    return [sys.executable, "-m", "k6_sweep", "run", "--redis-url", cluster.url, "--timeout", "300", *patterns]


def _by_hand(cluster: LocalCluster) -> list[str | Path]:
    return [sys.executable, "-m", "bench.others", "pipelines", *(str(node.port) for node in cluster.primaries)]


def _measured(cluster: LocalCluster, way: Way | None, count: int, command: Command) -> tuple[float, float, Cost]:
    """Return a round trip, another client's p99 alone, and the cost of the command; the other client is near."""
    matching = fill(cluster, count)
    if way is None:
        trip, quiet, cost = round_trip(cluster.nodes[0]), _quiet(cluster), measure(command(cluster), cluster)
    else:
        with behind(cluster, way) as far:
            trip, quiet, cost = round_trip(far.nodes[0]), _quiet(cluster), measure(command(far), cluster)
    if (left := total(cluster.primaries)) != count - matching:
        raise SystemExit(f"{left:,} keys are left, not {count - matching:,}")
    return trip, quiet, cost


def _quiet(cluster: LocalCluster) -> float:
    other = OtherClient(cluster.primaries)
    time.sleep(1)
    waits = other.stop()
    return waits[len(waits) * 99 // 100]


if __name__ == "__main__":
    main()
