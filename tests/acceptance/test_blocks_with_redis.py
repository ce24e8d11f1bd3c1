"""The command blocks of README and docs that need only a Redis and k6 work as they are written."""

import json
from pathlib import Path

import pytest

from k6_sweep.demo.servers import Node
from tests.blocks import blocks, shell
from tests.reports import report_in
from tests.support import keys_of

SCRIPT = "import { sleep } from 'k6'; export default function () { sleep(2); }"


@pytest.fixture
def url(redis_node: Node) -> str:
    redis_node.ask("FLUSHALL")
    redis_node.ask("MSET", "queue:1", "x", "queue:2", "x", "user:1", "x")
    return f"redis://127.0.0.1:{redis_node.port}"


def test_beside_k6_and_at_once(redis_node: Node, url: str, tmp_path: Path) -> None:
    """README: watch starts together with k6 and ends after it; run counts, then deletes; the exit code is 0."""
    block = blocks()["README.md: k6-sweep watch --redis-url"]
    (tmp_path / "script.js").write_text(SCRIPT)
    done = shell(block.but("completion", **{"redis://redis:6379": url}), tmp_path)
    assert done.returncode == 0, done.stderr
    reports = [report_in(line) for line in done.stdout.splitlines() if line.startswith('{"status"')]
    assert [(each["status"], each["deleted"], each["matched"]) for each in reports] == [
        ("complete", 2, 2),
        ("dry-run", 0, 0),
        ("complete", 0, 0),
    ]
    assert reports[0]["k6"]["ended"]
    assert keys_of([redis_node]) == {b"user:1"}


def test_the_marker(redis_node: Node, url: str, tmp_path: Path) -> None:
    """docs/safety.md: the marker is set, and check finds it."""
    block = blocks()["docs/safety.md: redis-cli -u redis://redis.staging:6379"]
    done = shell(block.but(**{"redis://redis.staging:6379": url}), tmp_path)
    assert done.returncode == 0, done.stderr
    assert report_in(done.stdout.splitlines()[-1])["status"] == "ready"
    assert b"load-tests-allowed" in keys_of([redis_node])


def test_the_snapshot(redis_node: Node, url: str, tmp_path: Path) -> None:
    """docs/safety.md: the sweep after the snapshot deletes nothing of before."""
    block = blocks()["docs/safety.md: k6-sweep snapshot --out"]
    (tmp_path / "shared").mkdir()
    text = block.but(**{"/shared/keys": str(tmp_path / "shared/keys"), "--redis-url …": f"--redis-url {url}"})
    before, after = text.splitlines()
    assert shell(before, tmp_path).returncode == 0
    redis_node.ask("SET", "queue:new", "x")
    done = shell(after, tmp_path)
    assert (done.returncode, report_in(done.stdout)["deleted"]) == (0, 1), done.stderr
    assert keys_of([redis_node]) == {b"queue:1", b"queue:2", b"user:1"}


def test_the_endpoint_of_the_page(url: str, tmp_path: Path) -> None:
    """docs/operations.md: the command serves, with the token that it makes; the package is installed here already."""
    block = blocks()["docs/operations.md: pip install '.[api]'"]
    text = block.but("pip install", **{"redis://127.0.0.1:6379": url, "127.0.0.1:8000": "127.0.0.1:0"})
    wait = 'until grep -q listening log || ! kill -0 "$pid"; do sleep 0.1; done; kill "$pid"; wait "$pid"; cat log >&2'
    done = shell(f"{_as_env(text)} 2>log & pid=$!; {wait}", tmp_path)
    assert report_in(done.stdout)["status"] == "stopped"
    events = [json.loads(line)["event"] for line in done.stderr.splitlines() if line.startswith("{")]
    assert "listening" in events


def _as_env(text: str) -> str:
    return f"env {text.strip()}"


def test_which_keys_would_go(redis_node: Node, url: str, tmp_path: Path) -> None:
    """docs/runbooks.md: at a terminal, the dry run prints the names of keys; it deletes none."""
    block = blocks()["docs/runbooks.md: k6-sweep run --redis-url"]
    text = block.but(**{"rediss://redis.staging:6379": url})
    (tmp_path / "run.sh").write_text(text)
    done = shell("script --quiet --return --command 'bash run.sh' /dev/null", tmp_path)
    assert done.returncode == 0, done.stdout
    assert "queue:1" in done.stdout
    assert "user:1" not in done.stdout
    assert len(keys_of([redis_node])) == 3


def test_the_login_by_iam(tmp_path: Path) -> None:
    """docs/redis.md: the command is complete; here, its cache has no address."""
    block = blocks()["docs/redis.md: k6-sweep run --redis-url"]
    more = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "eu-west-1"}
    text = block.but(**{"my-cache.abc123.euw1.cache.amazonaws.com": "my-cache.invalid"})
    done = shell(f"{text.rstrip()} --timeout 3", tmp_path, more)
    assert (done.returncode, report_in(done.stdout)["status"]) == (5, "failed"), done.stderr
