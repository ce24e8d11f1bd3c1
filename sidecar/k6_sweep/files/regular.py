"""Opens regular files only, without ever blocking."""

import errno
import os
import stat
from pathlib import Path
from typing import Final

_KINDS: Final = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a directory",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class UnusableFileError(OSError):
    """A file that k6-sweep must not open or must not replace; `strerror` is a clause with the reason."""

    def __init__(self, why: str, path: Path) -> None:
        super().__init__(errno.EINVAL, why, str(path))


def open_regular(path: Path, flags: int = os.O_RDONLY) -> int:
    """Open a regular file, or the null device; return its descriptor.

    Raises:
        UnusableFileError: It is another kind of file: to open or read that one could take for ever.
        OSError: It cannot be opened.
    """
    try:
        # O_NONBLOCK: open() of a FIFO waits until another process opens its other end. O_NOCTTY: a terminal must not
        # become the one that sends us signals.
        descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno != errno.ENXIO:  # a socket, or a FIFO that no process reads
            raise
        raise _unusable(path.stat(), path) from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) and not is_null_device(found):
        os.close(descriptor)
        raise _unusable(found, path)
    os.set_blocking(descriptor, True)
    return descriptor


def read_regular(path: Path) -> bytes:
    """Return the content of a regular file; the null device is empty.

    Raises:
        OSError: It cannot be read; UnusableFileError if it is not a regular file.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        return file.read()


def is_null_device(found: os.stat_result) -> bool:
    """Return whether this is the null device, under any name: users write /dev/null for "no file"."""
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == Path(os.devnull).stat().st_rdev


def _unusable(found: os.stat_result, path: Path) -> UnusableFileError:
    kind = _KINDS.get(stat.S_IFMT(found.st_mode), "something else")
    return UnusableFileError(f"it is {kind}; name a regular file", path)
