"""Compares `k6-sweep run` as it is with an earlier commit of it, in turns, in one run.

before.py COMMIT [KEYS] [RUNS]      (1,000,000 keys and the median of 5 runs if nothing is said)
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from bench.rig import ENVIRONMENT, PATTERNS, Cost, fill, measure, median, total
from sidecar.demo.servers import find_redis_server, local_cluster

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Run and print."""
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
        patterns = [word for pattern in PATTERNS for word in ("--pattern", pattern)]
        command = [sys.executable, "-m", "sidecar", "run", "--redis-url", cluster.url, *patterns]
        for _ in range(runs):
            for name, place in (("before", folder), ("now", str(ROOT))):
                matching = fill(cluster, count)
                costs[name].append(
                    measure(command, cluster, ENVIRONMENT | {"PYTHONPATH": place, "PYTHONSAFEPATH": "1"})
                )
                if (left := total(cluster.primaries)) != count - matching:
                    raise SystemExit(f"{name} left {left:,} keys, not {count - matching:,}")
    before, now = median(costs["before"]), median(costs["now"])
    for name, cost in (("before", before), ("now", now)):
        console.print(
            f"{name:7} {cost.seconds:.2f} s, client CPU {cost.client_cpu:.2f} s, server CPU {cost.server_cpu:.2f} s, "
            f"another client's p99 {cost.p99:.2f} ms, peak RSS {cost.peak_rss:.0f} MiB"
        )
    console.print(f"now takes {now.seconds / before.seconds:.2f} × the time of {commit}")


if __name__ == "__main__":
    main()
