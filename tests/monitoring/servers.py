"""Stands for a monitoring stack: a real Prometheus and a real Pushgateway, on loopback."""

import contextlib
import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from k6_sweep.demo.servers import end_with_parent, free_port
from tests.support import until

PROGRAMS = ("prometheus", "promtool", "prometheus-pushgateway", "curl", "jq")


def why_no_prometheus() -> str | None:
    """Return what this machine lacks, or None if it lacks nothing."""
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    return f"needs {', '.join(missing)} (Debian: prometheus, prometheus-pushgateway, curl, jq)" if missing else None


@dataclass(frozen=True)
class Web:
    """A server that answers with JSON."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, **query: str) -> Any:
        with urllib.request.urlopen(f"{self.url}{path}?{urllib.parse.urlencode(query)}") as response:
            return json.load(response)["data"]

    def is_up(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready") as response:
                return bool(response.status == 200)
        except OSError:
            return False


@contextlib.contextmanager
def _running(folder: Path, program: str, *options: str) -> Iterator[Web]:
    web = Web(free_port())
    with (folder / f"{program}.log").open("wb") as log:
        process = subprocess.Popen(
            [program, f"--web.listen-address=127.0.0.1:{web.port}", *options],
            stdout=log,
            stderr=log,
            preexec_fn=end_with_parent,  # noqa: PLW1509  # it only calls prctl, and takes no lock
        )
    try:
        until(lambda: web.is_up() or process.poll() is not None)
        assert process.poll() is None, (folder / f"{program}.log").read_text()
        yield web
    finally:
        process.terminate()
        process.wait(20)


@contextlib.contextmanager
def pushgateway(folder: Path) -> Iterator[Web]:
    with _running(folder, "prometheus-pushgateway", f"--persistence.file={folder / 'kept'}") as web:
        yield web


@contextlib.contextmanager
def prometheus(folder: Path, targets: Mapping[int, Mapping[str, str]], rules: Mapping[str, Any]) -> Iterator[Web]:
    """Run a Prometheus that scrapes these ports every second, each with its own labels, and evaluates the rules."""
    yaml = YAML(typ="safe")
    with (folder / "rules.yaml").open("w") as file:
        yaml.dump(dict(rules), file)
    jobs = [
        {
            "job_name": f"port-{port}",
            "honor_labels": True,
            "static_configs": [{"targets": [f"127.0.0.1:{port}"], "labels": dict(labels)}],
        }
        for port, labels in targets.items()
    ]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(folder / "rules.yaml")],
        "scrape_configs": jobs,
    }
    with (folder / "prometheus.yaml").open("w") as file:
        yaml.dump(config, file)
    data = f"--storage.tsdb.path={folder / 'data'}"
    with _running(folder, "prometheus", f"--config.file={folder / 'prometheus.yaml'}", data) as web:
        yield web


def promtool(*arguments: str, text: str = "") -> str:
    """Return promtool's output, and fail unless it succeeds."""
    done = subprocess.run(["promtool", *arguments], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
