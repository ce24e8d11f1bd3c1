"""Measures the wait by the API: its start, its cost, and how soon it sees k6's end, in good and in bad cases.

kubernetes.py [SECONDS] [RUNS]      (default: 30 seconds of waiting and the median of 5 ends)

Needs root and `make tools`. The sidecar does not find kubernetes-validate, a package of the tests: the kubernetes
package loads it if it is there, and it would add 20 MiB.
"""

import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console

from bench.measuring import machine
from k6_sweep.demo.servers import Node, find_redis_server, start_server, stop
from tests.acceptance.pod import Sidecar
from tests.kubernetes.apiserver import KubeApi, why_no_apiserver
from tests.kubernetes.proxy import Proxy
from tests.kubernetes.rig import READ_PODS, RUNNING, Namespace, Watchers, kept, pod, terminated
from tests.support import until

FROZEN = 60.0


@dataclass
class Scene:
    """An API server and a Redis."""

    api: KubeApi
    node: Node
    folder: Path
    number: int = 0

    @contextmanager
    def watched(self, port: int | None = None) -> Iterator[tuple[Namespace, Sidecar, float]]:
        """Start the watcher of a pod with a running k6; yield it, and the seconds until it saw this k6."""
        self.number += 1
        home = self.folder / str(self.number)
        home.mkdir()
        name = f"bench-{self.number}"
        manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        self.api.ask("POST", "/api/v1/namespaces", manifest)
        namespace = Namespace(self.api, name, home)
        namespace.create(pod("load-test"))
        namespace.k6_is("load-test", RUNNING)
        account = namespace.account(READ_PODS)
        self.node.ask("FLUSHALL")  # a sidecar that was killed is still in the register, and would get the sweep
        self.node.ask("SET", "test:1", "x")
        watchers = Watchers(namespace, home, f"redis://127.0.0.1:{self.node.port}", port or self.api.port)
        began = time.perf_counter()
        (home / "kubernetes_validate.py").write_text("raise ImportError")
        path = os.pathsep.join([str(home), *sys.path])
        sidecar = watchers.start(account, "--detector", "kubernetes", pod_name="load-test", PYTHONPATH=path)
        until(lambda: sidecar.says("k6 is running"))
        started = time.perf_counter() - began
        time.sleep(2)  # the preflight is over
        try:
            yield namespace, sidecar, started
        finally:
            watchers.stop()

    def until_deleted(self) -> float:
        """Return the seconds until the key is gone."""
        began = time.perf_counter()
        until(lambda: not kept(self.node), 120)
        return time.perf_counter() - began

    def good(self) -> float:
        """Return the seconds from the status change to the first delete."""
        with self.watched() as (namespace, _, _):
            namespace.k6_is("load-test", terminated(0))
            return self.until_deleted()

    def black_hole(self) -> float:
        """Return the same for a connection that drops all data."""
        with Proxy(self.api.port) as proxy, self.watched(proxy.port) as (namespace, _, _):
            proxy.black_hole()
            namespace.k6_is("load-test", terminated(0))
            return self.until_deleted()

    def frozen(self) -> float:
        """Return the seconds from the status change after the API server was stopped for a minute."""
        with self.watched() as (namespace, _, _):
            self.api.process.send_signal(signal.SIGSTOP)
            time.sleep(FROZEN)
            self.api.process.send_signal(signal.SIGCONT)
            until(self.api.ready)
            namespace.k6_is("load-test", terminated(0))
            return self.until_deleted()

    def restarted(self) -> float:
        """Return the seconds from a restarted API server's first answer; the change comes right after it."""
        with self.watched() as (namespace, _, _):
            self.api.restart(pause=5)
            namespace.k6_is("load-test", terminated(0))
            return self.until_deleted()


def idle(scene: Scene, seconds: float) -> str:
    """Return a sentence about the cost of the wait."""
    with scene.watched() as (_, sidecar, started):
        process = psutil.Process(sidecar.process.pid)
        before = process.cpu_times()
        time.sleep(seconds)
        after = process.cpu_times()
        cpu = after.user + after.system - before.user - before.system
        rss = process.memory_info().rss / 2**20
    weight = f"RSS {rss:.1f} MiB, CPU {cpu * 1000:.0f} ms"
    return f"from its start to k6 seen: {started:.2f} s; waiting for {seconds:g} s: {weight}"


def main(arguments: Sequence[str]) -> None:
    """Run the benchmark and print its results."""
    if reason := why_no_apiserver():
        sys.exit(reason)
    seconds = float(arguments[0]) if arguments else 30.0
    runs = int(arguments[1]) if len(arguments) > 1 else 5
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        folder = Path(name)
        node = start_server(find_redis_server(), folder)
        api = KubeApi.start(folder)
        scene = Scene(api, node, folder)
        cases: dict[str, tuple[Callable[[], float], int]] = {
            "in the good case": (scene.good, runs),
            "over a black-holed connection": (scene.black_hole, min(runs, 3)),
            "after a restart of the API server": (scene.restarted, min(runs, 3)),
            f"after {FROZEN:g} s of a frozen API server": (scene.frozen, 1),
        }
        try:
            console.print(f"{machine()}; Python {sys.version.split()[0]}")
            console.print(idle(scene, seconds))
            for case, (measure, times) in cases.items():
                found = [measure() for _ in range(times)]
                console.print(
                    f"from the status change to the first delete {case}: median {statistics.median(found):.2f} s, "
                    f"longest {max(found):.2f} s of {times}"
                )
        finally:
            api.stop()
            stop([node])


if __name__ == "__main__":
    main(sys.argv[1:])
