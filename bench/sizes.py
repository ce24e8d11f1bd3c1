"""Measures how time and memory grow with the number of keys: of the sweep, and of the snapshot before it.

sizes.py [KEYS…]      (default: 100,000, 1,000,000 and 10,000,000)
"""

import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.measuring import PATTERNS, fill, machine, measure, total
from k6_sweep.demo.servers import find_redis_server, local_cluster


def main() -> None:
    """Run the benchmark and print its results."""
    sizes = [int(word) for word in sys.argv[1:]] or [100_000, 1_000_000, 10_000_000]
    table = Table(title=f"3 primaries; 7 of 10 keys match; {machine()}")
    for heading in ("keys", "snapshot s", "RSS MiB", "file MiB", "run s", "× the time", "RSS MiB", "p99 / max ms"):
        table.add_column(heading, justify="right")
    before = 0.0
    with tempfile.TemporaryDirectory(prefix="k6-sweep-") as name, local_cluster(find_redis_server()) as cluster:
        patterns = [word for pattern in PATTERNS for word in ("--pattern", pattern)]
        common = ["--redis-url", cluster.url, *patterns, "--timeout", "600"]
        for count in sizes:
            matching = fill(cluster, count)
            file = Path(name) / str(count)
            taking = measure([sys.executable, "-m", "k6_sweep", "snapshot", *common, "--out", str(file)], cluster)
            sweeping = measure([sys.executable, "-m", "k6_sweep", "run", *common], cluster)
            if (left := total(cluster.primaries)) != count - matching:
                raise SystemExit(f"{left:,} keys are left, not {count - matching:,}")
            table.add_row(
                f"{count:,}",
                f"{taking.seconds:.1f}",
                f"{taking.peak_rss:.0f}",
                f"{file.stat().st_size / 2**20:.1f}",
                f"{sweeping.seconds:.1f}",
                f"{sweeping.seconds / before:.1f}" if before else "",
                f"{sweeping.peak_rss:.0f}",
                f"{sweeping.p99:.1f} / {sweeping.worst:.1f}",
            )
            before = sweeping.seconds
    Console(highlight=False, width=120).print(table)


if __name__ == "__main__":
    main()
