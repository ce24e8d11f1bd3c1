"""Stands for a deployment of the endpoint and its clients: a `k6-sweep serve` process, and requests to it."""

import contextlib
import http.client
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from k6_sweep.demo.servers import end_with_parent
from tests.reports import checked, report_in
from tests.support import until

TOKEN = "open-sesame-0123456789"
ADMIN = "/internal/admin/redis/cleanup"
INTERNAL = "/internal/redis/cleanup"


@dataclass(frozen=True)
class Answer:
    """One HTTP response."""

    code: int
    headers: Mapping[str, str]
    text: str

    @property
    def body(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text)
        if isinstance(report := found.get("report"), dict):
            checked(report)
        return found


@dataclass
class Served:
    """A running `k6-sweep serve`."""

    process: subprocess.Popen[str]
    lines: list[dict[str, Any]] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)

    def events(self, event: str) -> list[dict[str, Any]]:
        return [line for line in list(self.lines) if line["event"] == event]

    @property
    def port(self) -> int:
        (listening,) = self.events("listening")
        return int(listening["port"])

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        token: str | None = TOKEN,
        seconds: float = 300,
    ) -> Answer:
        """Send one request over its own connection; a body that is not text is sent as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        all_headers = {**({"X-Admin-Token": token} if token is not None else {}), **(headers or {})}
        text = body if isinstance(body, (str, bytes, type(None))) else json.dumps(body)
        try:
            connection.request(method, path, text, all_headers)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read().decode(errors="replace"))
        finally:
            connection.close()

    def post(
        self,
        body: object = {},
        path: str = ADMIN,
        headers: Mapping[str, str] | None = None,
        token: str | None = TOKEN,
        seconds: float = 300,
    ) -> Answer:
        return self.ask("POST", path, body, headers, token, seconds)

    def metric(self, sample: str) -> float:
        """Return the value of one sample, given as `name` or `name{label="value"}`; 0 if it does not exist."""
        found = [line for line in self.ask("GET", "/metrics").text.splitlines() if line.startswith(sample + " ")]
        return float(found[0].rsplit(" ", 1)[1]) if found else 0.0


@contextlib.contextmanager
def served(
    redis_url: str,
    *options: str,
    patterns: Sequence[str] = ("test:*",),
    env: Mapping[str, str] = {},
    limits: Sequence[str] = (),
) -> Iterator[Served]:
    """Start the endpoint, perhaps with limits of prlimit(1); wait until it listens, and end it afterwards."""
    limit = ("prlimit", *limits) if limits else ()
    words = [word for pattern in patterns for word in ("--pattern", pattern)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SWEEP_")}
    token = {} if "--admin-token-file" in options else {"SWEEP_ADMIN_TOKEN": TOKEN}
    listen = () if "--listen" in options else ("--listen", "127.0.0.1:0")
    process = subprocess.Popen(
        [*limit, sys.executable, "-m", "k6_sweep", "serve", "--redis-url", redis_url, *words, *listen, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**clean, **token, **env},
        preexec_fn=end_with_parent,  # noqa: PLW1509  # it only calls prctl, and takes no lock
    )
    running = Served(process)
    assert process.stderr
    stderr = process.stderr
    reader = threading.Thread(target=lambda: running.lines.extend(map(json.loads, stderr)), daemon=True)
    reader.start()
    try:
        until(lambda: bool(running.events("listening")) or process.poll() is not None)
        assert process.poll() is None, running.lines
        yield running
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:  # a second signal ends the running sweep
            process.terminate()
            process.wait(120)
        reader.join(10)
        assert process.stdout
        out = process.stdout.read()
        running.report.update(report_in(out) if out else {})
        process.stdout.close()
        stderr.close()


def memory(pid: int, field: str = "VmRSS:") -> int:
    """Return a process's resident memory in KiB."""
    words = Path(f"/proc/{pid}/status").read_text().split()
    return int(words[words.index(field) + 1])


def peak_memory(pid: int) -> int:
    """Return the most resident memory that a process has had, in KiB."""
    return memory(pid, "VmHWM:")
