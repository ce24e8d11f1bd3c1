"""Measures what a client with the token and a probe wait while clients without the token flood the endpoint.

Run as `python -m bench.floods [CONNECTIONS] [KIND …]`.
"""

import http.client
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.measuring import machine
from tests.endpoint.flood import Flood, Kind
from tests.endpoint.served import Served, peak_memory, served
from tests.support import running_redis

_TIMES = 100


def timed(ask: Callable[[], int]) -> float:
    """Return the seconds until the answer 200; infinity if there is none."""
    begun = time.monotonic()
    try:
        answered = ask() == 200
    except OSError:
        answered = False
    return time.monotonic() - begun if answered else float("inf")


def probe(port: int) -> int:
    """Ask for /healthz as the kubelet does; return the status."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/healthz")
    status = connection.getresponse().status
    connection.close()
    return status


def measure(endpoint: Served, kind: Kind, connections: int) -> None:
    """Print one row of the table."""
    (listening,) = endpoint.events("listening")
    probe_port = listening["probe_port"]
    with Flood(endpoint.port, kind, connections).running():
        begun, lines = time.monotonic(), len(endpoint.lines)
        waits: dict[str, list[float]] = {"token": [], "probe": []}
        for _ in range(_TIMES):
            waits["token"].append(timed(lambda: endpoint.post({"dry_run": True}, seconds=10).code))
            waits["probe"].append(timed(lambda: probe(probe_port)))
            time.sleep(0.1)
        minutes = (time.monotonic() - begun) / 60
    size = sum(len(json.dumps(line)) + 1 for line in endpoint.lines[lines:])
    shown = [f"{statistics.median(each):.2f} | {max(each):.2f}" for each in waits.values()]
    answered = [f"{sum(wait < limit for wait in waits[who])}" for who, limit in (("token", 2), ("probe", 1))]
    peak = peak_memory(endpoint.process.pid) / 1024
    row = [kind.name, *answered, *shown, f"{peak:.0f}", f"{size / minutes / 1e6:.2f}"]
    print("| " + " | ".join(row) + " |", flush=True)


def main() -> None:
    """Flood one endpoint for each kind."""
    connections = int(sys.argv[1]) if len(sys.argv) > 1 else 1500
    kinds = [Kind[name] for name in sys.argv[2:]] or list(Kind)
    print(machine())
    print("| flood | token ≤ 2 s | probe ≤ 1 s | token median | max | probe median | max | RSS MiB | log MB/min |")
    for kind in kinds:
        with tempfile.TemporaryDirectory() as folder, running_redis(Path(folder)) as node:
            node.ask("SET", "test:1", "x")
            url = f"redis://127.0.0.1:{node.port}"
            with served(url, "--probe-listen", "127.0.0.1:0") as endpoint:
                measure(endpoint, kind, connections)


if __name__ == "__main__":
    main()
