"""`k6-sweep snapshot` before a test and `--preserve-existing` after it, as the pod runs them."""

import json
from pathlib import Path

import pytest

from k6_sweep.demo.servers import Node
from tests.acceptance.command import k6_sweep

IN_POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "POD_UID": "11111111-2222-3333-4444-555555555555"}


@pytest.fixture
def good(redis_url: str) -> list[str]:
    return ["--redis-url", redis_url, "--pattern", "test:*"]


def test_what_was_there_stays(good: list[str], redis_node: Node, tmp_path: Path) -> None:
    """A sweep with the snapshot deletes only newer keys, and counts the spared ones."""
    taken = k6_sweep("snapshot", *good, "--out", str(tmp_path / "keys"))
    assert (taken.code, taken.report["status"], taken.report["matched"]) == (0, "complete", 1)
    redis_node.ask("MSET", "test:2", "x", "test:3", "x")
    swept = k6_sweep("run", *good, "--preserve-existing", str(tmp_path / "keys"))
    assert (swept.code, swept.report["deleted"], swept.report["preserved"]) == (0, 2, 1)
    assert sorted(redis_node.ask("KEYS", "*")) == [b"test:1", b"user:1"]


def test_an_init_container_that_runs_again_keeps_the_file(good: list[str], redis_node: Node, tmp_path: Path) -> None:
    """In the same pod a second run keeps the file: newer keys are the test's own."""
    k6_sweep("snapshot", *good, "--out", str(tmp_path / "keys"), env=IN_POD)
    before = (tmp_path / "keys").read_bytes()
    redis_node.ask("SET", "test:2", "x")
    again = k6_sweep("snapshot", *good, "--out", str(tmp_path / "keys"), env=IN_POD)
    assert (again.code, again.report["status"]) == (0, "complete")
    assert "kept the snapshot of 1 keys" in again.report["errors"][0]
    assert (tmp_path / "keys").read_bytes() == before


def test_elsewhere_a_file_that_exists_is_refused(good: list[str], tmp_path: Path) -> None:
    """Outside a pod, and in another pod, `snapshot` refuses to take an old file for a new one."""
    for number, first, second in ((1, {}, {}), (2, IN_POD, IN_POD | {"POD_UID": "another"}), (3, IN_POD, {})):
        out = ["--out", str(tmp_path / f"keys{number}")]
        k6_sweep("snapshot", *good, *out, env=first)
        again = k6_sweep("snapshot", *good, *out, env=second)
        assert (again.code, again.report["status"]) == (4, "refused")
        assert "delete it to take a new one" in again.report["errors"][0]


def test_a_file_of_other_patterns_is_refused(good: list[str], redis_node: Node, tmp_path: Path) -> None:
    """A snapshot without one of the patterns is refused: that pattern's keys may have existed before."""
    k6_sweep("snapshot", *good, "--out", str(tmp_path / "keys"))
    redis_node.ask("SET", "test:2", "x")
    swept = k6_sweep("run", *good, "--pattern", "user:*", "--preserve-existing", str(tmp_path / "keys"))
    assert (swept.code, swept.report["status"]) == (4, "refused")
    assert redis_node.ask("DBSIZE") == 3


def test_a_damaged_file_is_refused(good: list[str], redis_node: Node, tmp_path: Path) -> None:
    """A sweep with a snapshot that has one wrong byte deletes nothing."""
    k6_sweep("snapshot", *good, "--out", str(tmp_path / "keys"))
    content = bytearray((tmp_path / "keys").read_bytes())
    content[-40] ^= 1
    (tmp_path / "keys").write_bytes(content)
    redis_node.ask("SET", "test:2", "x")
    swept = k6_sweep("run", *good, "--preserve-existing", str(tmp_path / "keys"))
    assert (swept.code, swept.report["status"]) == (4, "refused")
    assert "damaged" in swept.report["errors"][0]
    assert redis_node.ask("DBSIZE") == 3


def test_a_missing_file_is_reported_before_the_wait(good: list[str], tmp_path: Path) -> None:
    """A sidecar without its snapshot reports it at once, before it waits for k6."""
    ended = k6_sweep("watch", *good, "--preserve-existing", str(tmp_path / "none"))
    assert (ended.code, ended.report["status"]) == (4, "refused")
    assert "k6-sweep snapshot --out" in ended.report["errors"][0]


def test_a_file_that_cannot_be_written_is_a_settings_error(good: list[str], tmp_path: Path) -> None:
    """If the file cannot be written, the exit code is 2, with the reason."""
    ended = k6_sweep("snapshot", *good, "--out", str(tmp_path / "none" / "keys"))
    assert (ended.code, ended.report["status"]) == (2, "error")
    assert "--out cannot be written" in ended.report["errors"][0]


def test_the_message_has_the_counts(good: list[str], tmp_path: Path) -> None:
    """The snapshot's counts are in the termination message, as for every command."""
    k6_sweep("snapshot", *good, "--out", str(tmp_path / "keys"), "--termination-log", str(tmp_path / "message"))
    assert json.loads((tmp_path / "message").read_text())["matched"] == 1
