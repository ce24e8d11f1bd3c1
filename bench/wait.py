"""Measures the wait: its cost while k6 runs, and the time from k6's end to the first delete.

wait.py [SECONDS] [RUNS]      (default: 30 seconds of waiting and the median of 5 ends)
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
from rich.console import Console

from bench.measuring import ENVIRONMENT, PATTERNS, machine
from k6_sweep.demo.servers import Node, find_k6, find_redis_server, start_server, stop

CROWD = 3000
POLL = 5.0
"""The seconds between two checks of the guide's shell."""


def _start(node: Node, folder: Path) -> tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]:
    """Start a k6 that runs until it is killed, and the sidecar next to it."""
    script = folder / "idle.js"
    script.write_text("import { sleep } from 'k6'; export default function () { sleep(3600); }")
    k6 = [find_k6(), "run", "--quiet", "--no-usage-report", "--address", "localhost:0", str(script)]
    patterns = [word for pattern in PATTERNS for word in ("--pattern", pattern)]
    watch: list[str | Path] = [
        Path(sys.executable).parent / "k6-sweep",
        "watch",
        "--redis-url",
        f"redis://127.0.0.1:{node.port}",
    ]
    environment = {name: value for name, value in ENVIRONMENT.items() if not name.startswith("KUBERNETES_")}
    sidecar = subprocess.Popen(
        [*watch, *patterns, "--settle", "0"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    running = subprocess.Popen(k6, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(4)  # both have started, and the preflight has ended
    return running, sidecar


def idle(node: Node, folder: Path, seconds: float) -> str:
    """Return a sentence about the cost of the wait."""
    k6, sidecar = _start(node, folder)
    process = psutil.Process(sidecar.pid)
    before, switches = process.cpu_times(), process.num_ctx_switches()
    time.sleep(seconds)
    after, later = process.cpu_times(), process.num_ctx_switches()
    rss = process.memory_info().rss / 2**20
    k6.kill()
    for each in (k6, sidecar):
        each.wait()
    cpu = after.user + after.system - before.user - before.system
    woken = later.voluntary + later.involuntary - switches.voluntary - switches.involuntary
    return f"waiting for {seconds:g} s: RSS {rss:.1f} MiB, CPU {cpu * 1000:.0f} ms, {woken} wake-ups"


def start_in_a_crowd(node: Node, folder: Path) -> float:
    """Return the seconds from the sidecar's start until it sees a k6 among thousands of processes."""
    body = f"import os, signal\nfor _ in range({CROWD}):\n    os.fork() or signal.pause()\nprint()\nsignal.pause()"
    crowd = subprocess.Popen([sys.executable, "-c", body], stdout=subprocess.PIPE, start_new_session=True)
    assert crowd.stdout
    crowd.stdout.readline()
    k6, first = _start(node, folder)
    first.kill()
    first.wait()
    began = time.perf_counter()
    watch: list[str | Path] = [
        Path(sys.executable).parent / "k6-sweep",
        "watch",
        "--redis-url",
        f"redis://127.0.0.1:{node.port}",
    ]
    sidecar = subprocess.Popen([*watch, "--pattern", "queue:*"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert sidecar.stderr
    while b"k6 is running" not in sidecar.stderr.readline():
        pass
    seconds = time.perf_counter() - began
    for process in (sidecar, k6):
        process.kill()
        process.wait()
    os.killpg(crowd.pid, signal.SIGKILL)
    crowd.wait()
    crowd.stdout.close()
    sidecar.stderr.close()
    return seconds


def latency(node: Node, folder: Path, run: Callable[[Node, Path], float], runs: int) -> float:
    """Return the median of the seconds from k6's end to the first delete."""
    return statistics.median(run(node, folder) for _ in range(runs))


def ours(node: Node, folder: Path) -> float:
    """Return the seconds from k6's end to the sidecar's first delete."""
    node.ask("SET", "queue:1", "x")
    k6, sidecar = _start(node, folder)
    k6.kill()
    k6.wait()
    seconds = _until_deleted(node)
    sidecar.wait()
    return seconds


def polling(node: Node, folder: Path) -> float:
    """Return the same for a shell that looks for k6 every five seconds, in its best case: it knows the pid."""
    node.ask("SET", "queue:1", "x")
    k6 = subprocess.Popen(["sleep", "3600"], cwd=folder)
    loop = f"while kill -0 {k6.pid} 2>/dev/null; do sleep {POLL:g}; done; redis-cli -p {node.port} UNLINK queue:1"
    shell = subprocess.Popen(["sh", "-c", loop], stdout=subprocess.DEVNULL)
    time.sleep(1 + POLL * int.from_bytes(os.urandom(1), "big") / 256)
    k6.kill()
    k6.wait()
    seconds = _until_deleted(node)
    shell.wait()
    return seconds


def _until_deleted(node: Node) -> float:
    began = time.perf_counter()
    link = node.link()
    while link.ask("EXISTS", "queue:1"):
        time.sleep(0.001)
    link.close()
    return time.perf_counter() - began


def main(arguments: Sequence[str]) -> None:
    """Run the benchmark and print its results."""
    seconds = float(arguments[0]) if arguments else 30.0
    runs = int(arguments[1]) if len(arguments) > 1 else 5
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        node = start_server(find_redis_server(), folder)
        try:
            console.print(f"{machine()}; Python {sys.version.split()[0]}")
            console.print(idle(node, folder, seconds))
            found = statistics.median(start_in_a_crowd(node, folder) for _ in range(3))
            console.print(f"from its start until it has found k6 among {CROWD:,} processes: {found:.2f} s")
            fast, slow = latency(node, folder, ours, runs), latency(node, folder, polling, runs)
        finally:
            stop([node])
    console.print(
        f"from k6's end to the first delete, median of {runs}: {fast * 1000:.0f} ms; "
        f"a shell that looks every {POLL:g} s: {slow * 1000:.0f} ms ({slow / fast:.0f} × that)"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
