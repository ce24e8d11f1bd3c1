"""The termination message is complete at any moment."""

from pathlib import Path

import pytest

from k6_sweep.files.message import TerminationMessage


def test_a_shorter_message_covers_a_longer_one(tmp_path: Path) -> None:
    """Each text covers the last one, also that of another writer, and the file never becomes shorter."""
    path = tmp_path / "message"
    path.write_bytes(b"left by somebody, and long")
    inode = path.stat().st_ino
    message = TerminationMessage(path)
    for text in (b"{}", b'{"a":"bcdefghijklmnopqrstuvwxyz"}', b"{}"):
        message.write(text)
        assert path.read_bytes().rstrip() == text
    assert path.stat().st_ino == inode
    assert path.stat().st_size == len(b'{"a":"bcdefghijklmnopqrstuvwxyz"}')


def test_a_message_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """A message in a folder that does not exist raises an error."""
    with pytest.raises(FileNotFoundError):
        TerminationMessage(tmp_path / "no" / "message").write(b"{}")
