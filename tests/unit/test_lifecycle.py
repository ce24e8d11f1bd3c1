"""Signals as facts."""

import os
import signal

from k6_sweep.lifecycle import Events


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
