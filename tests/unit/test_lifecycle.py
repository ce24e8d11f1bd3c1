"""Signals as facts, and the message."""

import os
import signal
from pathlib import Path

import pytest

from k6_sweep.lifecycle import Events
from k6_sweep.message import TerminationMessage


def test_signals_are_noted_and_end_a_wait() -> None:
    """The first SIGTERM is a date, the second is urgent, and both wake the wait; the old handlers come back."""
    before = signal.getsignal(signal.SIGTERM)
    with Events() as events:
        assert events.wait([], 0) == set()
        os.kill(os.getpid(), signal.SIGTERM)
        events.wait([], None)
        assert (events.first_signal is not None, events.urgent) == (True, False)
        os.kill(os.getpid(), signal.SIGTERM)
        events.wait([], None)
        assert events.urgent
    assert signal.getsignal(signal.SIGTERM) is before


def test_sigint_is_urgent_at_once() -> None:
    """Ctrl-C means now."""
    with Events() as events:
        os.kill(os.getpid(), signal.SIGINT)
        events.wait([], None)
        assert events.urgent


def test_descriptors_and_callbacks() -> None:
    """A readable descriptor is returned while it is; a callback is called once, unless it was forgotten."""
    reader, writer = os.pipe()
    called = []
    with Events() as events:
        assert events.wait([reader], 0) == set()
        os.write(writer, b"x")
        assert events.wait([reader], None) == {reader}
        events.on_readable(reader, lambda: called.append(1))
        assert events.wait([], 1e12) == set()
        events.wait([], 0)
        assert called == [1]
        events.on_readable(reader, lambda: called.append(2))
        assert events.forget(reader)
        assert not events.forget(reader)
        events.wait([], 0)
        assert called == [1]
    os.close(reader)
    os.close(writer)


def test_a_shorter_message_covers_a_longer_one(tmp_path: Path) -> None:
    """Each text replaces the last, blanks included, without the file ever being cut; another's text is covered too."""
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
    """Where there is no folder there is no message."""
    with pytest.raises(FileNotFoundError):
        TerminationMessage(tmp_path / "no" / "message").write(b"{}")
