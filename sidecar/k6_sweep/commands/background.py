"""Runs a function in a child process, so that the wait uses little memory and is not blocked."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from k6_sweep.lifecycle import SIGNALS, Events


class Child:
    """A child process that does one piece of work; its answer comes during a wait for events."""

    def __init__(self, events: Events, work: Callable[[], Any], on_answer: Callable[[Any], None]) -> None:
        """Start it; it uses os.fork: `multiprocessing` would cost the waiting sidecar 1 MiB more memory.

        Args:
            events: The events that the caller waits for.
            work: Returns a value that JSON can encode.
            on_answer: Receives that value; None if the child ended without an answer.
        """
        # A process and not a thread: what `work` imports (redis: 21 MiB) ends with it, and the wait may be long.
        self._reader, writer = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            _work(work, writer)
        # Else the pipe stays open after the child's end, and read() never returns.
        os.close(writer)
        self._events = events
        self._on_answer = on_answer
        events.on_readable(self._reader, self._on_readable)

    def _on_readable(self) -> None:
        with os.fdopen(self._reader, "rb") as pipe:
            answer = pipe.read()
        os.waitpid(self._pid, 0)
        self._on_answer(json.loads(answer) if answer else None)

    def wait(self, seconds: float) -> None:
        """Wait for the answer, no longer than this."""
        until = time.monotonic() + seconds
        while self._events.awaits(self._reader) and not self._events.urgent and time.monotonic() < until:
            self._events.wait([], until - time.monotonic())

    def end(self) -> None:
        """End the child, if its answer has not come: a late one must not change a message that is already written."""
        if self._events.forget(self._reader):
            os.close(self._reader)
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)


@contextmanager
def background(
    events: Events, work: Callable[[], Any], on_answer: Callable[[Any], None]
) -> Iterator[Callable[[float], None]]:
    """Run `work` in a child process while the context lasts; the arguments are those of `Child`.

    Yields:
        A function that waits for the answer, up to the given number of seconds.
    """
    child = Child(events, work, on_answer)
    try:
        yield child.wait
    finally:
        child.end()


def _work(work: Callable[[], Any], writer: int) -> None:
    """Run in the child: do the work, write the whole answer and exit."""
    try:
        # A fork shares the parent's handlers and wake-up socket: a signal to the child would wake the parent.
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        answer = json.dumps(work()).encode()
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(answer)
    finally:
        # Not sys.exit(), which would run the parent's exit handlers. After an error, the parent reads no answer.
        os._exit(0)
