"""Signals, callbacks and waits of `Events`."""

import os
import signal

from k6_sweep.lifecycle import Events


def test_signals_are_noted_and_end_a_wait() -> None:
    """The first SIGTERM sets its time, the second is urgent, both end the wait; the former handlers are restored."""
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
    """A first SIGINT is already urgent."""
    with Events() as events:
        os.kill(os.getpid(), signal.SIGINT)
        events.wait([], None)
        assert events.urgent


def test_descriptors_and_callbacks() -> None:
    """A wait returns descriptors while they are readable, and calls a callback once unless it was forgotten."""
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


def test_timers() -> None:
    """A wait ends at the moment of a timer and calls it once; a timer can be moved and cancelled."""
    called: list[str] = []
    now = [0.0]

    def tell() -> None:
        called.append("tell")

    with Events(lambda: now[0]) as events:
        events.call_at(1e9, tell)
        events.call_at(0.01, tell)
        events.call_at(0.0, lambda: called.append("now"))
        assert events.wait([], None) == set()
        assert called == ["now"]
        now[0] = 0.02
        events.wait([], None)
        assert called == ["now", "tell"]
        events.call_at(0.0, tell)
        events.cancel(tell)
        events.wait([], 0)
    assert called == ["now", "tell"]
