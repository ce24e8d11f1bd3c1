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

_LONGEST_WAIT: Final = 24 * 3600.0
"""Seconds; poll() accepts a timeout of a few weeks only, so a longer wait calls it again."""


class Events:
    """The events that can end a wait: SIGTERM, SIGINT, and descriptors that become readable.

    As a context manager it handles the signals, and restores their former handlers at the end.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.first_signal: float | None = None
        """When the first signal came, on the clock."""
        self.urgent = False
        """Whether the sweep must stop at its next batch: after SIGINT or a second SIGTERM."""
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._former: dict[int, Any] = {}
        self._former_wakeup = -1
        self._receiver, self._sender = socket.socketpair()
        for end in (self._receiver, self._sender):
            end.setblocking(False)

    def __enter__(self) -> Self:
        self._former_wakeup = signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
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
        if number == signal.SIGINT or self.first_signal is not None:
            self.urgent = True
        if self.first_signal is None:
            self.first_signal = self._clock()

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

    def wait(self, descriptors: Iterable[int], timeout: float | None) -> set[int]:
        """Sleep until a descriptor is readable, a signal or `wake` comes, or the time (seconds; None is forever) is up.

        Returns:
            The readable descriptors; empty after a signal, a call of `wake`, a callback or a timeout.
        """
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
