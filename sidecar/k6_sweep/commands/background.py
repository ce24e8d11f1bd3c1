"""Does something in a process of its own, so that the wait stays light and is not held up."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from k6_sweep.lifecycle import Events


@contextmanager
def background(
    events: Events, work: Callable[[], Any], on_answer: Callable[[Any], None]
) -> Iterator[Callable[[float], None]]:
    """Do the work while the context lasts; call back, during a wait for events, with what it returned.

    A bare fork: a pipe and a process of `multiprocessing` would weigh 1 MiB more in the waiting sidecar.

    Args:
        events: Where the wait happens.
        work: Returns what JSON takes.
        on_answer: Takes it; None if the work ended without an answer.

    Returns:
        What waits for the answer, for this many seconds at most.
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

    def wait(seconds: float) -> None:
        until = time.monotonic() + seconds
        while events.awaits(reader) and not events.urgent and time.monotonic() < until:
            events.wait([], until - time.monotonic())

    events.on_readable(reader, on_readable)
    try:
        yield wait
    finally:
        if events.forget(reader):
            os.close(reader)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


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
