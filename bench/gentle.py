"""Measures how `k6-sweep run` slows another client down, and how evenly it keeps a limited rate.

gentle.py [KEYS] [RUNS]      (default: 1,000,000 keys and the median of 3 runs)
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence

from rich.console import Console

from bench.measuring import ENVIRONMENT, PATTERNS, Cost, OtherClient, fill, measure, median
from k6_sweep.demo.servers import Node, find_redis_server, local_cluster

RATE = 20_000


def main() -> None:
    """Run the benchmark and print its results."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    console = Console(highlight=False, soft_wrap=True)
    with local_cluster(find_redis_server()) as cluster:
        patterns = [word for pattern in PATTERNS for word in ("--pattern", pattern)]
        command = [sys.executable, "-m", "k6_sweep", "run", "--redis-url", cluster.url, *patterns]
        quiet, busy = [], []
        for _ in range(runs):
            fill(cluster, count)
            quiet.append(_undisturbed(cluster.primaries))
            busy.append(measure(command, cluster))
        alone, beside = median(quiet), median(busy)
        console.print(f"another client alone:       p99 {alone.p99:5.2f} ms, {alone.rate:.0f} requests a second")
        console.print(
            f"another client beside ours: p99 {beside.p99:5.2f} ms, {beside.rate:.0f} requests a second "
            f"({beside.rate / alone.rate:.2f} × as many)"
        )
        ratios = []
        for _ in range(runs):
            fill(cluster, 10 * RATE)
            done = subprocess.run(
                [*command, "--max-rate", str(RATE), "--no-verify"], env=ENVIRONMENT, capture_output=True, check=True
            )
            report = json.loads(done.stdout)
            ratios.append(report["deleted"] / report["seconds"] / RATE)
        console.print(
            f"--max-rate {RATE}: held at {', '.join(f'{ratio:.3f}' for ratio in sorted(ratios))} × of it, "
            "the listing before the first delete included"
        )


def _undisturbed(nodes: Sequence[Node]) -> Cost:
    other = OtherClient(nodes)
    began = time.perf_counter()
    time.sleep(2)
    seconds = time.perf_counter() - began
    waits = other.stop()
    figures = (waits[len(waits) // 2], waits[len(waits) * 99 // 100], waits[-1])
    return Cost(seconds, 0, 0, 0, *figures, len(waits) / seconds)


if __name__ == "__main__":
    main()
