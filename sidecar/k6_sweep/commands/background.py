"""Does something in a process of its own, so that the wait stays light and is not held up."""

import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from k6_sweep.lifecycle import Events

Stop = Callable[[float], None]
"""Ends it, after waiting for its answer for so many seconds at the longest."""


def aside(events: Events, work: Callable[[], Any], on_answer: Callable[[Any], None]) -> Stop:
    """Start the work; call back, during a wait for events, with what it returned.

    Args:
        events: Where the wait happens.
        work: Returns what JSON takes.
        on_answer: Takes it; None if the work ended without an answer.

    Returns:
        What ends it: an answer that comes after that is not told any more.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        _work(work, writer)
    os.close(writer)

    def on_readable() -> None:
        with os.fdopen(reader, "rb") as pipe:
            answer = pipe.read()
        os.waitpid(child, 0)
        on_answer(json.loads(answer) if answer else None)

    def stop(patience: float) -> None:
        until = time.monotonic() + patience
        while events.awaits(reader) and not events.urgent and time.monotonic() < until:
            events.wait([], until - time.monotonic())
        if events.forget(reader):
            os.close(reader)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    events.on_readable(reader, on_readable)
    return stop


def _work(work: Callable[[], Any], writer: int) -> None:
    """Be the child: work, answer in one piece, and end."""
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        answer = json.dumps(work()).encode()
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(answer)
    finally:
        os._exit(0)
