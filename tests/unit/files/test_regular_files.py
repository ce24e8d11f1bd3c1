"""Only regular files are opened, and opening never blocks."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from k6_sweep.files.regular import UnusableFileError, open_regular, read_regular


def fifo(path: Path) -> None:
    os.mkfifo(path)


def listening_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


KINDS: dict[str, Callable[[Path], None]] = {
    "a FIFO": fifo,
    "a socket": listening_socket,
    "a directory": Path.mkdir,
    "a device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("linked", [False, True])
def test_other_kinds_are_refused(kind: str, linked: bool, tmp_path: Path) -> None:
    """A FIFO that nobody serves, a socket, a directory and a device are refused by their kind, also through a link."""
    path = tmp_path / "file"
    KINDS[kind](path)
    if linked:
        path = tmp_path / "link"
        path.symlink_to(tmp_path / "file")
    with pytest.raises(UnusableFileError) as refused:
        read_regular(path)
    assert refused.value.strerror == f"it is {kind}; name a regular file"
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDWR | os.O_CREAT):
        if kind != "a directory":  # the system itself refuses to write to one
            with pytest.raises(UnusableFileError, match=kind):
                open_regular(path, flags)


def test_a_regular_file_is_read_whole_and_its_reads_block(tmp_path: Path) -> None:
    """A regular file is read to its end, and its descriptor is an ordinary one that a child does not inherit."""
    (tmp_path / "file").write_bytes(b"x" * 1_000_000)
    assert read_regular(tmp_path / "file") == b"x" * 1_000_000
    descriptor = open_regular(tmp_path / "file")
    assert os.get_blocking(descriptor)
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


def test_the_null_device_is_an_empty_file() -> None:
    """The null device can be read, and is empty, and can be written."""
    assert read_regular(Path(os.devnull)) == b""
    os.close(open_regular(Path(os.devnull), os.O_RDWR | os.O_CREAT))


def test_nothing_stays_open(tmp_path: Path) -> None:
    """A refusal closes what it opened."""
    fifo(tmp_path / "fifo")
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(UnusableFileError):
        open_regular(tmp_path / "fifo")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
