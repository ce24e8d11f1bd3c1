"""Writes to standard output and standard error without hanging on a reader that does not read, and without raising."""

import io
import os
import select
import stat
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TextIO, cast

_PART: Final = select.PIPE_BUF
"""Bytes in one write: a pipe that is writable takes at least this number at once.

Source: https://man7.org/linux/man-pages/man7/pipe.7.html
"""
_LOG_PATIENCE: Final = 0.3
"""Seconds that a line of the log waits for its reader."""
_LOOK: Final = 0.1
"""Seconds between two looks at the time that is left, which a signal may shorten."""


class Output(io.TextIOBase):
    """A stream without a buffer; what its reader does not take in time is lost.

    If the reader has gone, the disk is full or the descriptor is closed, everything is lost: the exit code and the
    termination message must not depend on who reads.
    """

    errors = "backslashreplace"

    def __init__(self, descriptor: int, patience: float = float("inf")) -> None:
        """Prepare; `patience` is how many seconds a write waits for the reader."""
        self._descriptor = descriptor
        self._patience = patience
        self._own = _reopened(descriptor)
        self._stuck = False
        """Whether the reader did not take the last write in time: the next one does not wait, or a log would hang."""
        self._torn = False
        """Whether a line was cut off: the next one must not continue it."""

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a property here too
        """The encoding of all text."""
        return "utf-8"

    def write(self, text: str) -> int:
        """Write within the stream's patience."""
        patience = 0.0 if self._stuck else self._patience
        until = time.monotonic() + patience
        self.write_until(text, lambda: until - time.monotonic())
        return len(text)

    def write_until(self, text: str, remaining: Callable[[], float]) -> None:
        """Write; wait for the reader while `remaining` returns more than 0 seconds."""
        data = memoryview(("\n" * self._torn + text).encode(errors=self.errors))
        written = 0
        with suppress(OSError):  # it has no reader, the disk is full, or the descriptor is closed
            while written < len(data) and self._is_ready(remaining):
                try:
                    written += os.write(self._own, data[written : written + _PART])
                except BlockingIOError:  # another process has filled the pipe meanwhile
                    if remaining() <= 0:
                        break
        self._stuck = written < len(data)
        self._torn = self._torn if written == 0 else self._stuck

    def _is_ready(self, remaining: Callable[[], float]) -> bool:
        """Wait until the descriptor takes bytes, or reports an error; return false if no time remains."""
        poller = select.poll()
        poller.register(self._own, select.POLLOUT)
        while True:
            left = remaining()
            if poller.poll(1000 * max(0.0, min(left, _LOOK))):
                return True
            if left <= 0:
                return False

    def close(self) -> None:
        """Close what this stream has opened itself."""
        if self._own != self._descriptor:
            os.close(self._own)
            self._own = self._descriptor
        super().close()

    def isatty(self) -> bool:
        """Whether a person reads it on a terminal."""
        return os.isatty(self._descriptor)

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def writable(self) -> bool:
        """Return true."""
        return True


def _reopened(descriptor: int) -> int:
    """Return a descriptor of our own for the same pipe or terminal, on which a write never waits; else the same one.

    O_NONBLOCK belongs to what all processes share that inherited the descriptor, such as the shell, so that it must not
    be set there. A file is not opened again, because its position would be another; a socket cannot be.
    """
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISFIFO(mode) and not os.isatty(descriptor):
            return descriptor
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        return os.open(f"/proc/self/fd/{descriptor}", flags)
    except OSError:  # it is closed, it has no reader, it belongs to another user, or there is no /proc
        return descriptor


def use_safe_streams() -> None:
    """Replace sys.stdout and sys.stderr; open what the parent has closed."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # Otherwise the next file or socket would get this number, and be taken for a standard stream.
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  # it lives as long as the process
    sys.stdout = cast("TextIO", Output(1))
    sys.stderr = cast("TextIO", Output(2, _LOG_PATIENCE))


def write_out(text: str, remaining: Callable[[], float]) -> None:
    """Write to standard output; wait for the reader while `remaining` returns more than 0 seconds."""
    out: object = sys.stdout
    if isinstance(out, Output):
        out.write_until(text, remaining)
    else:  # `main` was called by another program, or by a test
        sys.stdout.write(text)
