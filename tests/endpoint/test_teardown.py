"""k6's teardown() in a real k6, against the endpoint."""

import http.server
import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from k6_sweep.commands.lookout import register_of
from k6_sweep.coordination import Entry
from k6_sweep.demo.servers import Node, find_k6, free_port
from tests.endpoint.served import TOKEN, Served, served
from tests.reports import report_in
from tests.support import KINDS, keys_of, settings_for, until

EXAMPLES = Path(__file__).parents[2] / "examples" / "k6"


@dataclass(frozen=True)
class K6Run:
    """The exit code, output and metrics of a k6 run."""

    code: int
    output: str
    metrics: dict[str, Any]


def run_k6(folder: Path, script: Path | str, **env: str) -> K6Run:
    """Run a script of the examples, or one that imports them."""
    if isinstance(script, str):
        (folder / "test.js").write_text(script.replace("./cleanup.js", str(EXAMPLES / "cleanup.js")))
        script = folder / "test.js"
    done = subprocess.run(
        [find_k6(), "run", "--no-usage-report", "--summary-export", str(folder / "summary.json"), str(script)],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **env},
        timeout=300,
        check=False,
    )
    return K6Run(done.returncode, done.stderr, json.loads((folder / "summary.json").read_text())["metrics"])


def script(call: str = "cleanup()", options: str = "") -> str:
    return f"""
import {{ cleanup }} from './cleanup.js';
export const options = {{ thresholds: {{ 'checks{{check:k6-sweep has swept}}': ['rate==1'] }}, {options} }};
export default function () {{}}
export function teardown() {{ console.log(`returned ${{JSON.stringify({call})}}`); }}
"""


def environment(endpoint: Served) -> dict[str, str]:
    return {"K6_SWEEP_URL": f"http://127.0.0.1:{endpoint.port}", "K6_SWEEP_TOKEN": TOKEN}


@pytest.fixture
def kinds(redis: Node) -> Node:
    """Ten keys of each of the guide's patterns, and one of a user."""
    redis.ask("FLUSHALL")
    redis.ask("MSET", "user:1", "x", *(word for kind in KINDS for n in range(10) for word in (f"{kind}:{n}", "x")))
    return redis


@pytest.fixture(scope="module")
def guide_endpoint(redis_node: Node) -> Iterator[Served]:
    with served(f"redis://127.0.0.1:{redis_node.port}", patterns=[f"{kind}:*" for kind in KINDS]) as running:
        yield running


@pytest.mark.parametrize("dry", [False, True])
def test_the_guides_own_script(guide_endpoint: Served, kinds: Node, tmp_path: Path, dry: bool) -> None:
    """The guide's own script works unchanged: the endpoint accepts its `dryRun`, and it finds its count."""
    base = f"http://127.0.0.1:{guide_endpoint.port}"
    env = {"BASE_URL": base, "ADMIN_TOKEN": TOKEN, "DRY_RUN": str(dry).lower()}
    ended = run_k6(tmp_path, EXAMPLES / "guide-teardown.js", **env)
    assert ended.code == 0
    assert f"Redis cleanup: {0 if dry else 70} keys deleted" in ended.output
    assert len(keys_of([kinds])) == (71 if dry else 1)


def test_the_module(guide_endpoint: Served, kinds: Node, tmp_path: Path) -> None:
    """cleanup() sweeps, passes its check, adds the count as a metric, and returns the report."""
    ended = run_k6(tmp_path, script(), **environment(guide_endpoint))
    assert ended.code == 0, ended.output
    assert keys_of([kinds]) == {b"user:1"}
    assert ended.metrics["k6_sweep_deleted_keys"]["count"] == 70
    assert ended.metrics["checks"]["passes"] == 1
    assert "k6-sweep: complete, 70 keys found, 70 deleted" in ended.output
    (returned,) = re.findall(r"returned (\{.*\})", ended.output.replace('\\"', '"'))
    assert (report_in(returned)["status"], report_in(returned)["deleted"]) == ("complete", 70)


def test_a_token_from_a_file(guide_endpoint: Served, kinds: Node, tmp_path: Path) -> None:
    """A Secret made from a file has a line end after the token, which no HTTP header may have."""
    ended = run_k6(tmp_path, script(), **environment(guide_endpoint) | {"K6_SWEEP_TOKEN": f"{TOKEN}\n"})
    assert ended.code == 0, ended.output
    assert keys_of([kinds]) == {b"user:1"}


def test_the_example_test(guide_endpoint: Served, kinds: Node, tmp_path: Path) -> None:
    """The example test runs unchanged, and its threshold passes."""
    target = f"http://127.0.0.1:{guide_endpoint.port}/healthz"
    ended = run_k6(tmp_path, EXAMPLES / "test.js", DURATION="1s", TARGET_URL=target, **environment(guide_endpoint))
    assert ended.code == 0, ended.output
    assert keys_of([kinds]) == {b"user:1"}


def test_less_than_is_configured_and_only_counted(guide_endpoint: Served, kinds: Node, tmp_path: Path) -> None:
    """The endpoint gets the patterns and the dry run that cleanup() gets."""
    call = "cleanup({ patterns: ['queue:*'], dryRun: true })"
    ended = run_k6(tmp_path, script(call), **environment(guide_endpoint))
    assert ended.code == 0, ended.output
    assert "k6-sweep: dry-run, 10 keys found, 0 deleted" in ended.output
    assert len(keys_of([kinds])) == 71


def test_it_waits_for_a_long_sweep(url: str, redis: Node, tmp_path: Path) -> None:
    """cleanup() follows a sweep that outlasts one request, without a failed request in k6's metrics."""
    with served(url, "--max-rate", "15") as endpoint:
        ended = run_k6(tmp_path, script(), **environment(endpoint))
    assert ended.code == 0, ended.output
    assert keys_of([redis]) == {b"user:1"}
    assert ended.metrics["http_reqs"]["count"] > 5
    assert ended.metrics["http_req_failed"]["passes"] == 0


def test_it_waits_for_another_sweep(slow_endpoint: Served, redis: Node, tmp_path: Path) -> None:
    """cleanup() sweeps after a running sweep, because that one may miss the test's keys."""
    with ThreadPoolExecutor() as pool:
        first = pool.submit(slow_endpoint.post, {"dry_run": True})
        until(lambda: bool(slow_endpoint.events("sweep started")))
        ended = run_k6(tmp_path, script(), **environment(slow_endpoint))
        assert first.result().code == 200
    assert ended.code == 0, ended.output
    assert keys_of([redis]) == {b"user:1"}


@pytest.mark.parametrize(
    ("env", "call", "said"),
    [
        (
            {"K6_SWEEP_TOKEN": "wrong"},
            "cleanup()",
            "or its token is not valid (HTTP 403, ",
        ),
        ({"K6_SWEEP_TOKEN": ""}, "cleanup()", "k6-sweep: K6_SWEEP_TOKEN not set"),
        ({"K6_SWEEP_URL": ""}, "cleanup()", "k6-sweep: K6_SWEEP_URL not set"),
        ({"K6_SWEEP_URL": "", "K6_SWEEP_TOKEN": ""}, "cleanup()", "k6-sweep: K6_SWEEP_URL and K6_SWEEP_TOKEN not set"),
        ({"K6_SWEEP_URL": f"http://127.0.0.1:{free_port()}"}, "cleanup({ seconds: 600 })", "connection refused"),
        ({}, "cleanup({ patterns: ['user:*'] })", "pattern 'user:*' is not within a configured pattern"),
        ({"K6_SWEEP_URL": f"http://127.0.0.1:{free_port()}"}, "cleanup({ seconds: 2 })", "no answer from "),
        ({}, "cleanup({ url: __ENV.K6_SWEEP_URL + '/healthz' })", "Not Found (HTTP 404, http://127.0.0.1:"),
        ({"K6_SWEEP_URL": "127.0.0.1:8000"}, "cleanup({ seconds: 600 })", "no answer from "),
    ],
)
def test_a_failure_is_in_the_output(
    endpoint: Served, redis: Node, tmp_path: Path, env: dict[str, str], call: str, said: str
) -> None:
    """A failed cleanup() fails its check and the threshold, and k6's output has the reason."""
    ended = run_k6(tmp_path, script(call), **(environment(endpoint) | env))
    assert ended.code == 99
    assert said in ended.output
    assert ended.metrics["k6_sweep_deleted_keys"]["count"] == 0
    assert len(keys_of([redis])) == 101


def test_it_does_not_outstay_teardown(url: str, tmp_path: Path) -> None:
    """cleanup() gives up before k6's teardownTimeout, and prints the URL of the sweep's state."""
    with served(url, "--max-rate", "2") as endpoint:
        ended = run_k6(tmp_path, script(options="teardownTimeout: '8s'"), **environment(endpoint))
    assert ended.code == 99
    assert "the sweep is still running; read its state at http://127.0.0.1" in ended.output


def test_an_endpoint_that_dies(url: str, tmp_path: Path) -> None:
    """If the endpoint dies, cleanup() reports it and keeps the last known count."""
    with served(url, "--max-rate", "5") as endpoint, ThreadPoolExecutor() as pool:
        running = pool.submit(run_k6, tmp_path, script("cleanup({ seconds: 5 })"), **environment(endpoint))
        until(
            lambda: (
                endpoint.metric('k6_sweep_http_requests_total{code="200",method="GET",path="/sweeps/{sweep_id}"}') > 2
            )
        )
        endpoint.process.kill()
        ended = running.result()
    assert ended.code == 99
    assert "the endpoint stopped answering: " in ended.output
    assert ended.metrics["k6_sweep_deleted_keys"]["count"] > 0


class Strange(http.server.BaseHTTPRequestHandler):
    """A server other than the endpoint: it accepts all requests, and answers with a page or never."""

    def do_POST(self) -> None:
        if self.path.startswith("/silent"):
            time.sleep(20)
            return
        self.send_response(202)
        self.send_header("Location", "/page")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(("path", "said"), [("/page", "k6-sweep's endpoint?"), ("/silent", "no answer from ")])
def test_what_is_no_endpoint(tmp_path: Path, path: str, said: str) -> None:
    """With a wrong or silent server cleanup() fails its check with a reason within teardownTimeout."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Strange) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        env = {"K6_SWEEP_URL": f"http://127.0.0.1:{server.server_port}{path}/", "K6_SWEEP_TOKEN": TOKEN}
        ended = run_k6(tmp_path, script(options="teardownTimeout: '8s'"), **env)
        server.shutdown()
    assert ended.code == 99
    assert said in ended.output
    assert ended.metrics["checks"]["fails"] == 1


def test_an_incomplete_sweep_fails_the_check(url: str, tmp_path: Path) -> None:
    """An incomplete sweep fails the check, and its count is still reported."""
    with served(url, "--max-rate", "20", "--timeout", "2") as endpoint:
        ended = run_k6(tmp_path, script(), **environment(endpoint))
    assert ended.code == 99
    assert "stopped by --timeout (2 s)" in ended.output
    assert ended.metrics["k6_sweep_deleted_keys"]["count"] > 0


def test_a_teardown_beside_a_watcher(endpoint: Served, redis: Node, tmp_path: Path) -> None:
    """While a watched test runs, a request is a 409 that names it; if its watcher will sweep, cleanup() succeeds."""
    settings = settings_for(f"redis://127.0.0.1:{redis.port}")
    register = register_of(settings)
    watcher = Entry("run", "load/k6-1", time.time(), settings.pattern)
    register.enter(watcher)
    refused = endpoint.post()
    assert (refused.code, refused.body["will_sweep"]) == (409, True)
    assert "the test of load/k6-1 (since " in refused.body["error"]
    run = run_k6(tmp_path, script(), **environment(endpoint))
    assert (run.code, len(keys_of([redis]) - {b"user:1"})) == (0, 100 + 2)
    assert '"status":"handed-over"' in run.output.replace("\\", "")
    register.enter(replace(watcher, sweeps=False))
    assert endpoint.post().body["will_sweep"] is False
    assert endpoint.post({"dry_run": True}).body["report"]["matched"] == 100
    register.remove([watcher])
    assert endpoint.post().body["deleted_count"] == 100


def test_an_endpoint_that_may_disturb_tests(url: str) -> None:
    """With --even-during-tests the endpoint sweeps while a test is registered."""
    settings = settings_for(url)
    register_of(settings).enter(Entry("run", "load/k6-1", time.time(), settings.pattern))
    with served(url, "--even-during-tests") as endpoint:
        assert endpoint.post().body["deleted_count"] == 100
