"""Runs k6-sweep's main job from end to end and shows it on one screen."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from k6_sweep.demo.keys import all_keys, write_keys
from k6_sweep.demo.servers import LocalCluster, find_k6, find_redis_server, local_cluster
from k6_sweep.errors import SweepError
from k6_sweep.table import table

KINDS: Final = ("stream", "dedupe", "waiting_token", "reservation_token", "idempotency", "ratelimit", "queue")
"""The key prefixes that the load test writes and the sweep deletes."""
OTHERS: Final = ("user", "session", "order", "queues", "queue")
"""Prefixes of other keys: "queues" differs from a test prefix by one letter; "queue" is one, with older keys."""
OTHER_KEYS: Final = 100_000
_PATIENCE: Final = 90.0


@dataclass(frozen=True)
class _Shown:
    """The facts on the screen."""

    before: Counter[str]
    written: Counter[str]
    after: Counter[str]
    report: dict[str, Any]
    message: str
    began_after: float
    watch_code: int

    @property
    def succeeded(self) -> bool:
        """Whether all keys of the test are gone, all others remain, and the report has exactly these numbers."""
        return (
            self.after == self.before
            and self.report["status"] == "complete"
            and self.report["deleted"] == self.written.total()
            and json.loads(self.message)["deleted"] == self.written.total()
            and self.watch_code == 0
        )


def show() -> int:
    """Run the demo; return 0 only if all keys of the test are gone and all others remain.

    Raises:
        SweepError: A program is missing or failed.
    """
    console = Console(highlight=False, soft_wrap=True)
    server, k6 = find_redis_server(), find_k6()
    console.print(
        "\n[bold]k6-sweep demo[/]: a load test fills a shared Redis Cluster; the sidecar cleans up after it\n"
    )
    step = _steps(console)
    step(f"Starting a Redis Cluster of three primaries on this machine ({_version(server)})")
    with tempfile.TemporaryDirectory(prefix="k6-sweep-demo-") as name, local_cluster(server) as cluster:
        step(f"Writing {OTHER_KEYS:,} keys of other applications, which must survive")
        write_keys(cluster, (f"{OTHERS[i % len(OTHERS)]}:{i}".encode() for i in range(OTHER_KEYS)))
        step("Taking a snapshot, as an init container would: [cyan]k6-sweep snapshot[/] records which keys exist")
        _take_snapshot(cluster, Path(name))
        shown = _main_job(cluster, k6, Path(name), step)
    _print(console, shown)
    return 0 if shown.succeeded else 1


def _main_job(cluster: LocalCluster, k6: str, folder: Path, step: Callable[[str], None]) -> _Shown:
    before = _count(cluster)
    message = folder / "termination-message"
    step("Starting the sidecar: [cyan]k6-sweep watch[/] waits for k6 to appear")
    spare = ["--preserve-existing", str(folder / "snapshot")]
    watch = subprocess.Popen(  # our own command
        [*_command("watch", cluster), *spare, "--termination-log", str(message), "--log-format", "json"],
        stdout=subprocess.PIPE,
        stderr=(folder / "log").open("wb"),
        env=_environment(),
    )
    try:
        step("Running a real k6: it writes seven kinds of keys for 5 seconds (and fails its threshold, as tests do)")
        ended, written = _load(cluster, k6, folder)
        step("k6 has ended; the sidecar sweeps, waits 2 seconds for late writes, and checks again")
        output, _ = watch.communicate(timeout=_PATIENCE)
    finally:
        watch.kill()
        watch.wait()
    if not output:
        raise SweepError(f"the sidecar reported nothing; its log:\n{(folder / 'log').read_text()}")
    return _Shown(
        before=before,
        written=written,
        after=_count(cluster),
        report=json.loads(output),
        message=message.read_text().rstrip(),
        began_after=_time_of("sweep started", folder / "log") - ended,
        watch_code=watch.returncode,
    )


def _command(name: str, cluster: LocalCluster) -> list[str]:
    patterns = [word for kind in KINDS for word in ("--pattern", f"{kind}:*")]
    return [sys.executable, "-m", "k6_sweep", name, "--redis-url", cluster.url, *patterns]


def _environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith(("SWEEP_", "KUBERNETES_"))}


def _take_snapshot(cluster: LocalCluster, folder: Path) -> None:
    done = subprocess.run(  # our own command
        [*_command("snapshot", cluster), "--out", str(folder / "snapshot")],
        capture_output=True,
        text=True,
        env=_environment(),
        check=False,
    )
    if done.returncode:
        raise SweepError(f"the snapshot failed: {done.stdout}{done.stderr}")


def _load(cluster: LocalCluster, k6: str, folder: Path) -> tuple[float, Counter[str]]:
    """Run the load test; return its end (seconds since the epoch) and, by prefix, the number of keys k6 reports."""
    summary = folder / "summary.json"
    script = resources.files("k6_sweep.demo") / "load.js"
    with resources.as_file(script) as path, (folder / "k6.log").open("wb") as log:
        k6_run = subprocess.Popen(  # the k6 that was found
            [k6, "run", "--quiet", "--summary-export", str(summary), str(path)],
            stdout=log,
            stderr=log,
            env=os.environ | {"REDIS_NODES": ",".join(f"redis://127.0.0.1:{node.port}" for node in cluster.primaries)},
        )
        k6_run.wait(timeout=_PATIENCE)
        ended = time.time()
    try:
        metrics = json.loads(summary.read_text())["metrics"]
        return ended, Counter({kind: int(metrics[f"written_{kind}"]["count"]) for kind in KINDS})
    except (OSError, KeyError, ValueError) as error:
        raise SweepError(f"k6 reported no counts; its output:\n{(folder / 'k6.log').read_text()}") from error


def _count(cluster: LocalCluster) -> Counter[str]:
    """Count the keys of the whole cluster by prefix."""
    return Counter(key.partition(b":")[0].decode() for node in cluster.primaries for key in all_keys(node))


def _time_of(event: str, log: Path) -> float:
    for line in log.read_text().splitlines():
        entry = json.loads(line)
        if entry["event"] == event:
            return datetime.fromisoformat(entry["time"]).timestamp()
    raise SweepError(f"the sidecar's log has no event {event!r}:\n{log.read_text()}")


def _version(server: str) -> str:
    said = subprocess.run([server, "--version"], capture_output=True, text=True, check=True).stdout  # found on the PATH
    name, _, version = said.partition(" v=")
    return f"{name.removesuffix(' server')} {version.split(maxsplit=1)[0]}"


def _steps(console: Console) -> Callable[[str], None]:
    numbers: Iterator[int] = iter(range(1, 100))
    began = time.monotonic()

    def step(text: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:5.1f} s[/]  [bold]{next(numbers)}[/]  {text}")

    return step


def _print(console: Console, shown: _Shown) -> None:
    rows, verdicts = [], []
    for prefix in dict.fromkeys((*KINDS, *OTHERS)):
        before, left = shown.before[prefix], shown.after[prefix]
        rows.append([f"{prefix}:*", f"{before:,}", f"{before + shown.written[prefix]:,}", f"{left:,}"])
        done = "untouched" if prefix not in KINDS else "swept, older ones kept" if before else "swept"
        verdicts.append(f"[green]{done}[/]" if left == before else f"[red]wrong: should be {before:,}[/]")
    console.print("\nKeys in the whole cluster")
    heading, *lines = table(("prefix", "before", "after k6", "after the sweep"), rows, console.width)
    console.print(f"[bold]{heading}[/]")
    for line, verdict in zip(lines, verdicts, strict=True):
        console.print(f"{line}  {verdict}")
    report = shown.report
    k6 = report["k6"]
    console.print("\n[bold]The termination message[/], as `kubectl describe pod` would show it:")
    console.print(shown.message, style="cyan", markup=False)
    ending = f"{k6['exit_code']} ({k6['reason']})" if k6["reason"] else "an exit code that this kernel does not report"
    console.print(
        f"\nk6 ended with {ending}; the sweep began [bold]{shown.began_after:.2f} s[/] later "
        f"and took [bold]{report['seconds']:.2f} s[/], 2 s of it waiting for late writes."
    )
    if shown.succeeded:
        console.print(
            f"[green bold]All {shown.written.total():,} keys of the test are gone, "
            f"all {shown.before.total():,} others are there.[/]\n"
        )
    else:
        console.print("[red bold]The result is wrong.[/] Please report it with the output above.\n")
