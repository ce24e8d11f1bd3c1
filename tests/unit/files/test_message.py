"""The termination message is complete at any moment."""

import os
from pathlib import Path

import pytest

from k6_sweep.files.message import TerminationMessage
from k6_sweep.files.regular import UnusableFileError
from k6_sweep.report import Report
from k6_sweep.status import Status

LONG = Report(Status.ERROR, errors=("a long text that an earlier container left",)).message(2048)
SHORT = Report(Status.WAITING).message(2048)


def test_a_shorter_message_covers_a_longer_one(tmp_path: Path) -> None:
    """Each text covers the last one, also that of an earlier process, and the file never becomes shorter."""
    path = tmp_path / "message"
    path.write_bytes(LONG)
    inode = path.stat().st_ino
    for text in (SHORT, LONG, SHORT):
        TerminationMessage(path).write(text)
        assert path.read_bytes().rstrip() == text
        assert path.stat().st_size == len(LONG)
    assert path.stat().st_ino == inode


def test_a_message_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """A message in a folder that does not exist raises an error."""
    with pytest.raises(FileNotFoundError):
        TerminationMessage(tmp_path / "no" / "message").write(b"{}")


def test_a_file_that_comes_later_is_not_written_over(tmp_path: Path) -> None:
    """A user's file that takes the place of the message during the wait stays as it is, also behind a link."""
    (tmp_path / "notes").write_text("my notes, longer than a message")
    message = TerminationMessage(tmp_path / "message")
    message.write(SHORT)
    (tmp_path / "message").unlink()
    (tmp_path / "message").symlink_to(tmp_path / "notes")
    with pytest.raises(UnusableFileError, match="not k6-sweep's"):
        message.write(LONG)
    assert (tmp_path / "notes").read_text() == "my notes, longer than a message"


def test_the_null_device_takes_every_message() -> None:
    """A message for the null device is written, and the device stays one."""
    for text in (LONG, SHORT):
        TerminationMessage(Path(os.devnull)).write(text)
    assert Path(os.devnull).is_char_device()
