"""Sweeps large things: millions of keys in one slot, with keepers before them, and values of a million entries.

fat.py [KEYS]      (default: 2,000,000 keys with one hash tag)
"""

import statistics
import sys
from collections.abc import Callable

from rich.console import Console

from bench.measuring import Cost, measure
from k6_sweep.cluster.link import pack
from k6_sweep.demo.keys import write_keys
from k6_sweep.demo.servers import LocalCluster, find_redis_server, local_cluster

KEEPERS = 50_000
ENTRIES = 1_000_000
SLOW = 5000
"""The server time in microseconds from which the server records a command in its slow log."""


def main() -> None:
    """Run the benchmark and print its results."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000
    console = Console(highlight=False, soft_wrap=True)
    with local_cluster(find_redis_server()) as cluster:
        for title, fill, left in (
            (f"{count:,} keys in one slot", lambda: _fat(cluster, count, 0), 0),
            (f"{count:,} keys in one slot, {KEEPERS:,} keepers", lambda: _fat(cluster, count, KEEPERS), KEEPERS),
            (f"a stream and a hash of {ENTRIES:,} entries", lambda: _big(cluster), 0),
        ):
            console.print(f"{title}: {_line(cluster, fill, left)}")


def _line(cluster: LocalCluster, fill: Callable[[], None], left: int) -> str:
    """Measure one sweep, and return its line of the results."""
    for node in cluster.primaries:
        node.ask("FLUSHALL")
    fill()
    for node in cluster.primaries:
        node.ask("CONFIG", "SET", "slowlog-log-slower-than", SLOW)
        node.ask("SLOWLOG", "RESET")
    command = [sys.executable, "-m", "k6_sweep", "run", "--redis-url", cluster.url, "--pattern", "test:*"]
    cost: Cost = measure([*command, "--timeout", "300"], cluster)
    entries = [entry for node in cluster.primaries for entry in node.ask("SLOWLOG", "GET", 100)]
    slow = [entry[2] / 1000 for entry in entries]
    if (there := sum(node.ask("DBSIZE") for node in cluster.primaries)) != left:
        raise SystemExit(f"{there:,} keys are left, not {left:,}")
    said = f"{len(slow)} commands above {SLOW / 1000:g} ms of server time" + (
        f", the longest {max(slow):.1f} ms, their median {statistics.median(slow):.1f} ms "
        f"({', '.join(sorted({entry[3][0].decode() for entry in entries}))})"
        if slow
        else ""
    )
    return (
        f"{cost.seconds:.1f} s, {said}; another client waited {cost.p99:.1f} ms (p99), {cost.worst:.1f} ms at most; "
        f"peak RSS {cost.peak_rss:.0f} MiB"
    )


def _fat(cluster: LocalCluster, count: int, keepers: int) -> None:
    write_keys(cluster, (b"user:{tag}%d" % number for number in range(keepers // 2)))
    write_keys(cluster, (b"test:{tag}%d" % number for number in range(count)))
    write_keys(cluster, (b"user:{tag}%d" % number for number in range(keepers // 2, keepers)))


def _big(cluster: LocalCluster) -> None:
    """Write a stream and a hash; each primary accepts the keys of its own slots and refuses the others."""
    for node in cluster.primaries:
        link = node.link()
        for start in range(0, ENTRIES, 10_000):
            numbers = range(start, start + 10_000)
            link.pipeline([pack((b"XADD", b"test:stream", b"*", b"field", b"%d" % number)) for number in numbers])
            pairs = [word for number in numbers for word in (b"field%d" % number, b"value")]
            link.pipeline([pack((b"HSET", b"test:hash", *pairs))])
        link.close()
    if (there := sum(node.ask("DBSIZE") for node in cluster.primaries)) != 2:
        raise SystemExit(f"there are {there} keys, not a stream and a hash")


if __name__ == "__main__":
    main()
