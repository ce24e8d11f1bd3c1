"""Files that are no regular ones, or that belong to somebody else: no command waits for them or writes over them."""

import os
from pathlib import Path

import pytest

from k6_sweep.demo.servers import Node
from tests.acceptance.command import k6_sweep

FOREIGN = b"my notes: a file of a user\n" * 100


@pytest.fixture
def good(redis_url: str) -> list[str]:
    return ["--redis-url", redis_url, "--pattern", "test:*"]


READ = ("--redis-password-file", "--redis-ca-file", "--redis-cert-file", "--redis-key-file")
WRITTEN = ("--termination-log", "--metrics-file")


@pytest.mark.parametrize("option", [*READ, *WRITTEN])
def test_a_fifo_is_a_mistake_in_the_settings(option: str, good: list[str], redis_node: Node, tmp_path: Path) -> None:
    """A FIFO whose other end nobody opens ends the command at once: exit code 2, nothing deleted."""
    os.mkfifo(tmp_path / "fifo")
    for command in ("run", "watch"):
        ended = k6_sweep(command, *good, option, str(tmp_path / "fifo"))
        assert (ended.code, ended.report["status"]) == (2, "error")
        assert [text for text in ended.report["errors"] if option in text and "it is a FIFO" in text]
    assert redis_node.ask("DBSIZE") == 2
    assert (tmp_path / "fifo").is_fifo()


@pytest.mark.parametrize("option", WRITTEN)
@pytest.mark.parametrize("linked", [False, True])
def test_a_file_of_a_user_stays(option: str, linked: bool, good: list[str], redis_node: Node, tmp_path: Path) -> None:
    """A file with a text of somebody else is refused before anything is deleted, and keeps every byte."""
    notes = tmp_path / "notes"
    notes.write_bytes(FOREIGN)
    path = tmp_path / "link" if linked else notes
    if linked:
        path.symlink_to(notes)
    ended = k6_sweep("run", *good, option, str(path), "--timeout", "soon")
    assert (ended.code, ended.report["status"]) == (2, "error")
    assert len(ended.report["errors"]) == 2  # with all other problems
    assert [text for text in ended.report["errors"] if option in text and "not k6-sweep's" in text]
    assert redis_node.ask("DBSIZE") == 2
    assert notes.read_bytes() == FOREIGN
    assert path.is_symlink() == linked


@pytest.mark.parametrize("option", WRITTEN)
def test_k6_sweeps_own_file_is_written_again(option: str, good: list[str], redis_node: Node, tmp_path: Path) -> None:
    """A file of an earlier run is replaced by the next run, also behind a link, which stays."""
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for _ in range(2):
        redis_node.ask("SET", "test:1", "x")
        ended = k6_sweep("run", *good, option, str(tmp_path / "link"))
        assert (ended.code, ended.report["deleted"]) == (0, 1)
        assert "not written" not in ended.log
    assert (tmp_path / "link").is_symlink()
    assert b"complete" in (tmp_path / "file").read_bytes()


def test_the_null_device_takes_message_and_metrics(good: list[str]) -> None:
    """`--termination-log /dev/null` and `--metrics-file /dev/null` switch both off, and the device stays."""
    ended = k6_sweep("run", *good, "--termination-log", os.devnull, "--metrics-file", os.devnull)
    assert (ended.code, ended.report["deleted"]) == (0, 1)
    assert "not written" not in ended.log
    assert Path(os.devnull).is_char_device()
