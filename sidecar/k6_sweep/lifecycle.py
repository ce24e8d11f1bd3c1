"""Records signals with their times, and waits until a signal or another event comes."""

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from types import FrameType, TracebackType
from typing import Any, Final, Self

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""The signals that ask the process to end; SIGHUP comes when its terminal closes."""
_TIME_TO_READ: Final = 0.5
"""Seconds that the reader of the report has at least."""
_LONGEST_WAIT: Final = 24 * 3600.0
"""Seconds; poll() accepts a timeout of a few weeks only, so a longer wait calls it again."""


class Events:
    """The events that can end a wait: SIGTERM, SIGINT, SIGHUP, and descriptors that become readable.

    As a context manager it handles the signals, and restores their former handlers at the end.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.first_signal: float | None = None
        """When the first signal came, on the clock."""
        self.urgent_signal: float | None = None
        """When SIGINT or a second SIGTERM came, on the clock: the sweep must stop at its next batch."""
        self.signalled_by = ""
        """The name of the first signal, or of the urgent one."""
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._timers: dict[Callable[[], None], float] = {}
        self._former: dict[int, Any] = {}
        self._former_wakeup = -1
        self.on_signal: Callable[[], None] = lambda: None
        """Called after each signal, in its handler."""

    def __enter__(self) -> Self:
        self._receiver, self._sender = socket.socketpair()
        for end in (self._receiver, self._sender):
            end.setblocking(False)
        self._former_wakeup = signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        for number in SIGNALS:
            # nohup ignores SIGHUP, so that the process outlives its terminal.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                self._former[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, former in self._former.items():
            signal.signal(number, former)
        signal.set_wakeup_fd(self._former_wakeup)
        self._receiver.close()
        self._sender.close()

    def _note(self, number: int, _frame: FrameType | None) -> None:
        now, name = self._clock(), signal.Signals(number).name
        again = number == signal.SIGTERM and self.first_signal is not None
        if self.first_signal is None:
            self.first_signal, self.signalled_by = now, name
        # A terminal that closes may send SIGHUP twice, once from its shell.
        if self.urgent_signal is None and (again or number == signal.SIGINT):
            self.urgent_signal, self.signalled_by = now, f"a second {name}" if again else name
        self.on_signal()

    @property
    def urgent(self) -> bool:
        """Whether the sweep must stop at its next batch."""
        return self.urgent_signal is not None

    def patience(self, deadline: float) -> Callable[[], float]:
        """Return a function that returns the seconds left for a slow reader of the report; a signal makes them few."""
        began = self._clock()
        deadline = max(deadline, began + _TIME_TO_READ)

        def remaining() -> float:
            signalled = self.first_signal
            end = deadline if signalled is None else min(deadline, max(signalled, began) + _TIME_TO_READ)
            return end - self._clock()

        return remaining

    def wake(self) -> None:
        """End the current wait, or else the next one; any thread may call this."""
        with suppress(OSError):  # the socket is full, so a wait ends anyway; or it is closed
            self._sender.send(b"\0")

    def on_readable(self, descriptor: int, callback: Callable[[], None]) -> None:
        """Call `callback` once, during a wait, when the descriptor is readable."""
        self._callbacks[descriptor] = callback

    def awaits(self, descriptor: int) -> bool:
        """Return whether a callback for this descriptor is pending."""
        return descriptor in self._callbacks

    def forget(self, descriptor: int) -> bool:
        """Cancel the callback of this descriptor; return whether it was pending."""
        return self._callbacks.pop(descriptor, None) is not None

    def call_at(self, moment: float, callback: Callable[[], None]) -> None:
        """Call `callback` once, during a wait, at this moment of the clock; it replaces an earlier moment."""
        self._timers[callback] = moment

    def cancel(self, callback: Callable[[], None]) -> None:
        """Do not call a callback of `call_at`."""
        self._timers.pop(callback, None)

    def wait(self, descriptors: Iterable[int], timeout: float | None) -> set[int]:
        """Sleep until a descriptor is readable, a signal or `wake` comes, or the time (seconds; None is forever) is up.

        Returns:
            The readable descriptors; empty after a signal, a call of `wake`, a callback or a timeout.
        """
        if self._timers:
            first = max(0.0, min(self._timers.values()) - self._clock())
            timeout = first if timeout is None else min(first, timeout)
        wanted = set(descriptors)
        poller = select.poll()
        for descriptor in {*wanted, *self._callbacks, self._receiver.fileno()}:
            poller.register(descriptor, select.POLLIN)
        milliseconds = None if timeout is None else 1000 * min(max(0.0, timeout), _LONGEST_WAIT)
        ready = {descriptor for descriptor, _ in poller.poll(milliseconds)}
        if self._receiver.fileno() in ready:
            self._receiver.recv(4096)
        for descriptor in ready & self._callbacks.keys():
            self._callbacks.pop(descriptor)()
        for callback in [each for each, moment in self._timers.items() if moment <= self._clock()]:
            del self._timers[callback]
            callback()
        return ready & wanted


def on_our_clock(moment: datetime | None) -> float | None:
    """Convert a moment to the monotonic clock that dates the signals; None stays None."""
    return None if moment is None else time.monotonic() + (moment - datetime.now(UTC)).total_seconds()


def forbid_inspection() -> None:
    """Hide k6-sweep's environment and memory from processes of the same user in a shared process namespace.

    Source: https://man7.org/linux/man-pages/man2/PR_SET_DUMPABLE.2const.html
    """
    import ctypes  # only here, and only on Linux

    if os.name == "posix" and hasattr(ctypes.CDLL(None), "prctl"):
        ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
