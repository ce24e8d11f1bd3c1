"""Compares `k6-sweep run` with other ways to delete the same keys, in one run, on its own cluster.

sweep.py [KEYS] [RUNS]      (default: 1,000,000 keys and the median of 3 runs)
"""

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.measuring import HERE, PATTERNS, Cost, fill, machine, measure, median, total
from k6_sweep.demo.servers import LocalCluster, find_redis_server, local_cluster

OURS = "k6-sweep run"
FLOOR = "the floor: listing + FLUSHDB"


def ways(cluster: LocalCluster) -> Mapping[str, Sequence[str | Path]]:
    """Return the command of each way."""
    ports = [str(node.port) for node in cluster.primaries]
    patterns = [word for pattern in PATTERNS for word in ("--pattern", pattern)]
    others = [sys.executable, "-m", "bench.others"]
    cli = shutil.which("redis-cli") or str(Path(sys.executable).parent / "redis-cli")
    return {
        OURS: [Path(sys.executable).parent / "k6-sweep", "run", "--redis-url", cluster.url, *patterns],
        FLOOR: [*others, "floor", *ports],
        "Lua on the server": [*others, "lua", *ports],
        "a thread per primary, SCAN + pipeline": [*others, "pipelines", *ports],
        "redis-py as usually written": [*others, "idiom", *ports],
        "the guide's shell, repaired": [HERE / "shell.sh", cli, *ports],
    }


def main() -> None:
    """Run the benchmark and print its results."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    console = Console(highlight=False, width=140)
    costs: dict[str, list[Cost]] = {}
    with local_cluster(find_redis_server()) as cluster:
        for _ in range(runs):
            for name, command in ways(cluster).items():
                matching = fill(cluster, count)
                costs.setdefault(name, []).append(measure(command, cluster))
                left = total(cluster.primaries)
                expected = 0 if name == FLOOR else count - matching
                if left != expected:
                    raise SystemExit(f"{name} left {left:,} keys, not {expected:,}")
                console.print(f"[dim]{name}: {costs[name][-1].seconds:.2f} s[/]")
    table = Table(title=f"{count:,} keys, {matching:,} of them to delete; 3 primaries; median of {runs}; {machine()}")
    for heading in ("way", "seconds", "ours is × faster", "client CPU s", "server CPU s", "p50 ms", "p99 ms", "max ms"):
        table.add_column(heading, justify="left" if heading == "way" else "right")
    middle = {name: median(each) for name, each in costs.items()}
    ours = middle[OURS]
    for name, cost in middle.items():
        figures = (cost.client_cpu, cost.server_cpu, cost.p50, cost.p99, cost.worst)
        table.add_row(
            name, f"{cost.seconds:.2f}", f"{cost.seconds / ours.seconds:.1f}", *(f"{figure:.2f}" for figure in figures)
        )
    console.print(table)
    console.print(
        f"another client's p99: ours {ours.p99:.2f} ms, Lua's {middle['Lua on the server'].p99 / ours.p99:.1f} × that"
    )


if __name__ == "__main__":
    main()
