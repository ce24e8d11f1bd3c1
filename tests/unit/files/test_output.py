"""Output that nobody reads neither hangs nor raises, and what is read is whole."""

import fcntl
import os
import select
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from k6_sweep.files.output import Output


@dataclass
class Pipe:
    """A pipe whose reader reads what the test wants it to."""

    reader: int
    writer: int

    def fill(self) -> int:
        """Fill the pipe; return the number of bytes in it."""
        own = os.open(f"/proc/self/fd/{self.writer}", os.O_WRONLY | os.O_NONBLOCK)
        filled = 0
        try:
            while True:
                filled += os.write(own, b"x" * 4096)
        except BlockingIOError:
            return filled
        finally:
            os.close(own)

    def read(self, size: int = 1 << 20) -> bytes:
        """Return what is in the pipe now."""
        return os.read(self.reader, size) if select.select([self.reader], [], [], 0)[0] else b""


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe(*os.pipe())
    yield made
    for end in (made.reader, made.writer):
        with suppress(OSError):  # the test has closed it
            os.close(end)


def not_at_all() -> float:
    return 0.0


def test_what_is_written_arrives(pipe: Pipe) -> None:
    """Text arrives as UTF-8, and a lone surrogate as an escape."""
    out = Output(pipe.writer, 5.0)
    assert out.write("sweep ✓ \udcff\n") == 10
    assert pipe.read() == "sweep ✓ \\udcff\n".encode()


def test_a_long_text_waits_for_its_reader(pipe: Pipe) -> None:
    """A text that is longer than the pipe arrives whole, if its reader reads."""
    text = "".join(f"{number}\n" for number in range(100_000))
    got = bytearray()

    def read() -> None:
        while len(got) < len(text):
            got.extend(os.read(pipe.reader, 65536))

    reader = threading.Thread(target=read)
    reader.start()
    Output(pipe.writer).write(text)
    reader.join()
    assert got == text.encode()


def test_a_full_pipe_loses_the_text(pipe: Pipe) -> None:
    """What the reader does not take in time is lost; once it reads again, the next line arrives."""
    out = Output(pipe.writer, 0.0)
    filled = pipe.fill()
    out.write("lost\n")
    assert pipe.read() == b"x" * filled
    out.write("there\n")
    assert pipe.read() == b"there\n"


def test_a_stuck_reader_is_waited_for_once(pipe: Pipe) -> None:
    """After one write that was lost, others are lost at once: they do not wait for the time that is left."""
    out = Output(pipe.writer, 0.2)
    pipe.fill()
    out.write("lost\n")
    out._patience = float("inf")  # a write that waited now would never return
    out.write("lost too\n")
    assert b"lost" not in pipe.read()


def test_a_torn_line_is_not_continued(pipe: Pipe) -> None:
    """If a line was cut off, the next one begins on a new line, so that each line is one event."""
    out = Output(pipe.writer)
    pipe.fill()
    pipe.read(8192)
    out.write_until("y" * 20_000, not_at_all)
    while b"y" not in (last := pipe.read(65536)):
        pass
    assert last.endswith(b"y")
    out.write("whole\n")
    assert pipe.read() == b"\nwhole\n"


def test_the_time_to_wait_may_end_meanwhile(pipe: Pipe) -> None:
    """A write ends when its time does, for example because of a signal that comes while it waits."""
    left = iter([60.0, 60.0])
    pipe.fill()
    Output(pipe.writer).write_until("lost\n", lambda: next(left, 0.0))
    assert next(left, None) is None
    assert b"lost" not in pipe.read()


def test_another_process_fills_the_pipe_first(pipe: Pipe) -> None:
    """If another process fills the pipe after the look at it, the write still ends with its time."""
    out = Output(pipe.writer)
    out._is_ready = lambda remaining: True  # type: ignore[method-assign]  # noqa: ARG005  # the pipe was free at the look
    pipe.fill()
    out.write_until("lost\n", not_at_all)
    assert b"lost" not in pipe.read()


def test_nobody_reads(pipe: Pipe) -> None:
    """A pipe without a reader raises nothing."""
    os.close(pipe.reader)
    assert Output(pipe.writer).write("lost\n") == 5


def test_a_full_disk() -> None:
    """A full disk raises nothing."""
    descriptor = os.open("/dev/full", os.O_WRONLY)
    assert Output(descriptor).write("lost\n") == 5
    os.close(descriptor)


def test_a_closed_descriptor(pipe: Pipe) -> None:
    """A closed descriptor raises nothing."""
    os.close(pipe.reader)
    out = Output(pipe.writer)
    os.close(pipe.writer)
    assert out.write("lost\n") == 5
    assert not out.isatty()


def test_a_file_is_continued(tmp_path: Path) -> None:
    """A file that the shell has opened is written from its position on, as `>>` expects."""
    with (tmp_path / "log").open("w") as file:
        file.write("before\n")
        file.flush()
        Output(file.fileno()).write("after\n")
    assert (tmp_path / "log").read_text() == "before\nafter\n"


def test_the_shells_descriptor_stays_blocking(pipe: Pipe) -> None:
    """O_NONBLOCK is not set on the descriptor that other processes share."""
    Output(pipe.writer).write("x\n")
    assert not fcntl.fcntl(pipe.writer, fcntl.F_GETFL) & os.O_NONBLOCK
