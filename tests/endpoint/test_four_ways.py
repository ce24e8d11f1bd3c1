"""Each example in docs/four-ways.md works exactly as it is in the page."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from k6_sweep.demo.servers import Node, end_with_parent, find_k6
from tests.acceptance.command import k6_sweep
from tests.acceptance.pod import private_k6
from tests.chart.helm import ROOT, env_of, render, why_no_helm, written
from tests.endpoint.served import TOKEN, Answer, Served, served
from tests.endpoint.test_teardown import environment
from tests.reports import report_in
from tests.support import keys_of, until

PAGE = (ROOT / "docs" / "four-ways.md").read_text()
SECTIONS = {part.split("\n", 1)[0]: part for part in PAGE.split("\n## ")[1:]}
Manifest = dict[str, Any]


def blocks(section: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", SECTIONS[section], re.DOTALL)


def the_job(section: str) -> Manifest:
    (text,) = blocks(section, "yaml")
    job: Manifest = YAML(typ="safe").load(text)
    return job


def container(pod: Mapping[str, Any], name: str) -> Manifest:
    (found,) = [each for each in (*pod.get("initContainers", []), *pod["containers"]) if each["name"] == name]
    return dict(found)


def here(manifest: Manifest, url: str) -> dict[str, str]:
    """Return a container's variables with this Redis, no password, and the page's namespace."""
    env = {name: value for name, value in env_of(manifest).items() if isinstance(value, str)}
    del env["SWEEP_REDIS_PASSWORD_FILE"]
    return env | {"SWEEP_REDIS_URL": url, "POD_NAMESPACE": "load-test"}


@pytest.fixture
def queue(redis: Node) -> Node:
    """Keys of the page's patterns and other keys."""
    redis.ask("FLUSHALL")
    redis.ask("MSET", "queue:1", "x", "queue:2", "x", "dedupe:1", "x", "stream:1", "x", "user:1", "x")
    return redis


LEFT = {b"stream:1", b"user:1"}


def test_the_sidecar(queue: Node, url: str, tmp_path: Path) -> None:
    """The page's sidecar, with its command and variables, sweeps after a real k6."""
    sidecar = container(the_job("A sidecar in the k6 Job")["spec"]["template"]["spec"], "k6-sweep")
    message = tmp_path / "message"
    (tmp_path / "test.js").write_text("import { sleep } from 'k6'; export default function () { sleep(2); }")
    k6 = private_k6(tmp_path)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SWEEP_")}
    more = {"SWEEP_TERMINATION_LOG": str(message), "SWEEP_K6_PROCESS": k6.name}
    waiting = subprocess.Popen(
        [sys.executable, "-m", "k6_sweep", *sidecar["args"]],
        env={**clean, **here(sidecar, url), **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        preexec_fn=end_with_parent,  # noqa: PLW1509  # it only calls prctl, and takes no lock
    )
    until(lambda: message.exists() and '"waiting"' in message.read_text())
    subprocess.run([k6, "run", "--quiet", "--no-usage-report", str(tmp_path / "test.js")], check=True)
    until(lambda: keys_of([queue]) == LEFT)
    until(lambda: '"complete"' in message.read_text())
    waiting.terminate()
    assert report_in(waiting.communicate(timeout=30)[0])["deleted"] == 3
    assert waiting.returncode == 0


def test_teardown(queue: Node, url: str, tmp_path: Path) -> None:
    """The page's script, run as by k6's container, sweeps by the endpoint in the same pod."""
    pod = the_job("k6's teardown()")["spec"]["template"]["spec"]
    sidecar, k6 = container(pod, "k6-sweep"), container(pod, "k6")
    assert env_of(k6)["K6_SWEEP_URL"] == f"http://{sidecar['args'][-1]}"
    assert env_of(k6)["K6_SWEEP_TOKEN"] == env_of(sidecar)["SWEEP_ADMIN_TOKEN"]
    (script,) = blocks("k6's teardown()", "js")
    (tmp_path / "test.js").write_text(script)
    (tmp_path / "cleanup.js").symlink_to(ROOT / "examples" / "k6" / "cleanup.js")
    with served(url, env=here(sidecar, url), patterns=()) as endpoint:
        env = {**os.environ, **environment(endpoint), "DURATION": "1s"}
        target = f"http://127.0.0.1:{endpoint.port}/healthz"
        command = [find_k6(), *k6["args"][:-1], "--no-usage-report", str(tmp_path / "test.js")]
        subprocess.run(command, env={**env, "TARGET_URL": target}, capture_output=True, check=True)
    assert keys_of([queue]) == LEFT


def test_the_cleanup_job(queue: Node, url: str) -> None:
    """The page's cleanup Job, with its command and variables, sweeps its patterns."""
    job = container(the_job("A cleanup Job")["spec"]["template"]["spec"], "k6-sweep")
    ended = k6_sweep(*job["args"], env=here(job, url))
    assert (ended.code, ended.report["patterns"]) == (0, {"queue:*": 2, "dedupe:*": 1})
    assert keys_of([queue]) == LEFT


def test_the_endpoint(queue: Node, url: str, tmp_path: Path) -> None:
    """The endpoint that the chart makes of the page's values answers the page's curl with the page's JSON."""
    if reason := why_no_helm():
        pytest.skip(reason)
    (values,) = blocks("An admin endpoint", "yaml")
    made = render(written(tmp_path, YAML(typ="safe").load(values)))
    ours = container(made.of("Deployment")["spec"]["template"]["spec"], "k6-sweep")
    env = here(ours, url)
    del env["SWEEP_LISTEN"], env["SWEEP_ADMIN_TOKEN_FILE"]
    (curl,) = [each for each in blocks("An admin endpoint", "sh") if "curl" in each]
    with served(url, env=env, patterns=()) as endpoint:
        answer = curled(curl, endpoint)
        assert answer.body["report"] | {"status": "dry-run", "matched": 2} == answer.body["report"]
    (shown,) = blocks("An admin endpoint", "json")
    assert list(json.loads(shown)) == list(answer.body)
    assert len(keys_of([queue])) == 5
    service = made.of("Service")
    assert f"http://{service['metadata']['name'].replace('test-release', 'sweep')}.load-test.svc:8000/" in curl


def curled(command: str, endpoint: Served) -> Answer:
    """Run the page's curl against this endpoint."""
    here = re.sub(r"http://[^/]+", f"http://127.0.0.1:{endpoint.port}", command.replace("\\\n", " "))
    words = [word.replace("$TOKEN", TOKEN) for word in shlex.split(here)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return Answer(200, {}, done.stdout)


def test_the_script_is_the_examples() -> None:
    """The page and examples/k6 have the same script."""
    (script,) = blocks("k6's teardown()", "js")
    example = (ROOT / "examples" / "k6" / "test.js").read_text()
    assert example.endswith(f"cleanup.js.\n{script}")
