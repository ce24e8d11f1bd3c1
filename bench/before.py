"""Compares the present `k6-sweep run` with the one of an earlier commit, alternating, in one run.

before.py COMMIT [KEYS] [RUNS]      (default: 1,000,000 keys and the median of 5 runs)
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench.measuring import ENVIRONMENT, PATTERNS, Cost, fill, measure, median, total
from k6_sweep.demo.servers import LocalCluster, find_redis_server, local_cluster

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Run the benchmark and print its results."""
    commit = sys.argv[1]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
    runs = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    console = Console(highlight=False)
    costs: dict[str, list[Cost]] = {"before": [], "now": []}
    with (
        tempfile.TemporaryDirectory(prefix="k6-sweep-before-") as folder,
        local_cluster(find_redis_server()) as cluster,
    ):
        archive = subprocess.run(["git", "-C", ROOT, "archive", commit, "sidecar"], capture_output=True, check=True)
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        arguments = ["run", "--redis-url", cluster.url, *(word for each in PATTERNS for word in ("--pattern", each))]
        for _ in range(runs):
            for name, place in (("before", Path(folder)), ("now", ROOT)):
                matching = fill(cluster, count)
                costs[name].append(_measured(place, arguments, cluster))
                if (left := total(cluster.primaries)) != count - matching:
                    raise SystemExit(f"{name} left {left:,} keys, not {count - matching:,}")
    before, now = median(costs["before"]), median(costs["now"])
    for name, cost in (("before", before), ("now", now)):
        console.print(
            f"{name:7} {cost.seconds:.2f} s, client CPU {cost.client_cpu:.2f} s, server CPU {cost.server_cpu:.2f} s, "
            f"another client's p99 {cost.p99:.2f} ms, peak RSS {cost.peak_rss:.0f} MiB"
        )
    console.print(f"now takes {now.seconds / before.seconds:.2f} × the time of {commit}")


def _measured(checkout: Path, arguments: Sequence[str], cluster: LocalCluster) -> Cost:
    """Measure the command of a checkout; before 1.0 its package was called `sidecar` for a while."""
    source = checkout / "sidecar"
    package, path = ("k6_sweep", source) if (source / "k6_sweep").exists() else ("sidecar", checkout)
    environment = ENVIRONMENT | {"PYTHONPATH": str(path), "PYTHONSAFEPATH": "1"}
    return measure([sys.executable, "-m", package, *arguments], cluster, environment)


if __name__ == "__main__":
    main()
