"""The k6 scripts of the tests: a k6 ends only after each sidecar in its folder has seen it.

So no test depends on how fast a sidecar finds k6. k6 sends a request to a server of the test. The server finds the
process that sent it, and answers when the logs of all sidecars show that they wait for this process.
"""

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

_ASK = "http.get('http://127.0.0.1:{port}/', {{ timeout: '600s' }});"
_SLEEP = """
import http from 'k6/http';
import {{ sleep }} from 'k6';
export default function () {{ {ask} sleep(Number(__ENV.SECONDS || 0.3)); }}
"""
_FAIL = """
import http from 'k6/http';
import {{ Counter }} from 'k6/metrics';
const never = new Counter('never');
export const options = {{ thresholds: {{ never: ['count<1'] }} }};
export default function () {{ never.add(1); {ask} }}
"""
_SHARING = """
import http from 'k6/http';
import redis from 'k6/experimental/redis';
import {{ sleep }} from 'k6';
import {{ Counter }} from 'k6/metrics';
const client = new redis.Client({{ cluster: {{ nodes: __ENV.REDIS_NODES.split(',') }} }});
const rounds = Number(__ENV.ROUNDS);
const present = new Counter('present');
export const options = {{
  vus: 1,
  iterations: rounds,
  thresholds: {{ present: [`count==${{rounds * (rounds + 1) / 2}}`] }},
}};
export default async function () {{
  await client.set(`${{__ENV.PREFIX}}${{__ITER}}`, 'x', 0);
  if (__ITER === 0 && !__ENV.ALONE) {{ {ask} }}
  sleep(0.1);
  for (let number = 0; number <= __ITER; number++) {{
    present.add(await client.exists(`${{__ENV.PREFIX}}${{number}}`));
  }}
}}
"""
HOLD = "hold"
"""While the folder has a file with this name, no k6 ends."""


@contextlib.contextmanager
def k6_scripts(folder: Path) -> Iterator[None]:
    """Write scripts.

    sleep.js runs for $SECONDS more (0.3). The threshold of failing.js fails. sharing.js writes a key $PREFIX… in each
    of its $ROUNDS, and fails if one of its keys is missing; with $ALONE it does not wait for its sidecar.
    """
    stopped = threading.Event()

    class WhenSeen(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            line = _line_of(self.client_address, self.request.getsockname())
            while not stopped.is_set() and ((folder / HOLD).exists() or not _is_seen(line, folder)):
                time.sleep(0.02)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), WhenSeen) as server:
        server.daemon_threads = True
        ask = _ASK.format(port=server.server_port)
        (folder / "sleep.js").write_text(_SLEEP.format(ask=ask))
        (folder / "sharing.js").write_text(_SHARING.format(ask=ask))
        (folder / "failing.js").write_text(_FAIL.format(ask=ask))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        stopped.set()
        server.shutdown()


def _line_of(client: tuple[str, int], server: tuple[str, int]) -> set[int]:
    """Return the pids, in its own pod, of the process at the connection's other end and of its ancestors.

    Both ends of the connection count: one to another server may use the same client port at the same time.
    """
    (pid,) = {
        each.pid for each in psutil.net_connections("tcp4") if (each.laddr, each.raddr) == (client, server) and each.pid
    }
    process = psutil.Process(pid)
    while process.is_running():
        with contextlib.suppress(FileNotFoundError, psutil.NoSuchProcess):  # an ancestor has just ended: try again
            numbers = [_numbers(each.pid) for each in (process, *process.parents())]
            return {each[-1] for each in numbers if len(each) == len(numbers[0])}
    return set()


def _numbers(pid: int) -> list[int]:
    """Return a process's pid in each of its PID namespaces, the innermost last."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("NSpid:"))
    return [int(word) for word in line.split()[1:]]


def _is_seen(line: set[int], folder: Path) -> bool:
    """Return whether each sidecar waits for one of these: for a k6, or for its container's first process."""
    logs = list(folder.glob("log*"))
    return bool(logs) and all(line & _waited_for(log) for log in logs)


def _waited_for(log: Path) -> set[int]:
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{") and line.endswith("}")]
    return {line.get(name) for line in lines if line["event"] == "k6 is running" for name in ("pid", "container")}
