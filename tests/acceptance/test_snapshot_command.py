"""`k6-sweep snapshot` before a test and `--preserve-existing` after it, as the pod runs them."""

import os
from datetime import timedelta
from pathlib import Path

import pytest

from k6_sweep.demo.servers import Node
from tests.acceptance.command import k6_sweep, make_older
from tests.reports import report_in

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


def test_an_old_file_is_refused(good: list[str], redis_node: Node, tmp_path: Path) -> None:
    """A snapshot of the day before yesterday deletes nothing, in `run` and before the wait of `watch`."""
    keys = ["--preserve-existing", str(tmp_path / "keys")]
    k6_sweep("snapshot", *good, "--out", str(tmp_path / "keys"))
    make_older(tmp_path / "keys", timedelta(hours=30))
    redis_node.ask("SET", "test:2", "x")
    for command in ("run", "watch"):
        ended = k6_sweep(command, *good, *keys)
        assert (ended.code, ended.report["status"]) == (4, "refused")
        assert " 108," in ended.report["errors"][0]
        assert "--snapshot-max-age is 86,400 s" in ended.report["errors"][0]
    assert redis_node.ask("DBSIZE") == 3
    assert k6_sweep("run", *good, *keys, "--snapshot-max-age", "31h").report["deleted"] == 1


def test_a_second_sweep_with_the_same_file_is_refused(good: list[str], redis_node: Node, tmp_path: Path) -> None:
    """A script whose second `snapshot` fails, but which goes on, deletes nothing that came after its first test."""
    out, keys = ["--out", str(tmp_path / "keys")], ["--preserve-existing", str(tmp_path / "keys")]
    k6_sweep("snapshot", *good, *out)
    redis_node.ask("SET", "test:2", "x")
    assert k6_sweep("run", *good, *keys, "--dry-run").report["matched"] == 1  # uses nothing up
    assert k6_sweep("run", *good, *keys).report["deleted"] == 1
    redis_node.ask("SET", "test:of-others", "x")
    assert k6_sweep("snapshot", *good, *out).code == 4
    ended = k6_sweep("run", *good, *keys)
    assert (ended.code, ended.report["status"]) == (4, "refused")
    assert "was used for a complete sweep (by " in ended.report["errors"][0]
    assert redis_node.ask("EXISTS", "test:of-others") == 1


def test_the_same_pod_may_use_its_file_again(good: list[str], redis_node: Node, tmp_path: Path) -> None:
    """In the pod that took the snapshot, neither its age nor an earlier sweep counts: a soak test runs for days."""
    keys = ["--preserve-existing", str(tmp_path / "keys")]
    k6_sweep("snapshot", *good, "--out", str(tmp_path / "keys"), env=IN_POD)
    make_older(tmp_path / "keys", timedelta(days=10))
    for _ in range(2):
        redis_node.ask("SET", "test:2", "x")
        assert k6_sweep("run", *good, *keys, env=IN_POD).report["deleted"] == 1
    assert k6_sweep("run", *good, *keys, env=IN_POD | {"POD_UID": "another"}).code == 4


def test_an_incomplete_sweep_does_not_use_it_up(good: list[str], redis_node: Node, tmp_path: Path) -> None:
    """After a sweep that was not complete, the next one may use the same snapshot."""
    keys = ["--preserve-existing", str(tmp_path / "keys")]
    k6_sweep("snapshot", *good, "--out", str(tmp_path / "keys"))
    for number in range(200):
        redis_node.ask("SET", f"test:later:{number}", "x")
    ended = k6_sweep("run", *good, *keys, "--max-rate", "20", "--timeout", "3")
    assert (ended.code, ended.report["status"]) == (3, "incomplete")
    assert k6_sweep("run", *good, *keys).report["status"] == "complete"
    assert redis_node.ask("EXISTS", "test:1") == 1


def test_a_fifo_is_no_snapshot(good: list[str], redis_node: Node, tmp_path: Path) -> None:
    """A FIFO in place of the snapshot ends each command at once, and nothing is deleted or replaced."""
    os.mkfifo(tmp_path / "fifo")
    for command in ("run", "watch"):
        ended = k6_sweep(command, *good, "--preserve-existing", str(tmp_path / "fifo"))
        assert (ended.code, ended.report["status"]) == (4, "refused")
        assert "it is a FIFO" in ended.report["errors"][0]
    ended = k6_sweep("snapshot", *good, "--out", str(tmp_path / "fifo"))
    assert (ended.code, ended.report["status"]) == (2, "error")
    assert "it is a FIFO" in ended.report["errors"][0]
    assert (tmp_path / "fifo").is_fifo()
    assert redis_node.ask("DBSIZE") == 2


def test_a_file_of_a_user_is_not_replaced(good: list[str], tmp_path: Path) -> None:
    """`--out` leaves a file that is not a snapshot as it is, also behind a link, with the advice."""
    (tmp_path / "notes").write_text("my notes")
    (tmp_path / "link").symlink_to(tmp_path / "notes")
    for name in ("notes", "link"):
        ended = k6_sweep("snapshot", *good, "--out", str(tmp_path / name))
        assert (ended.code, ended.report["status"]) == (4, "refused")
        assert "--out must name a new file" in ended.report["errors"][0]
    assert (tmp_path / "notes").read_text() == "my notes"
    assert (tmp_path / "link").is_symlink()


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
    assert report_in((tmp_path / "message").read_text())["matched"] == 1
