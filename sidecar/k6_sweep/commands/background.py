"""Runs a function in a child process, so that the wait uses little memory and is not blocked."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from k6_sweep.lifecycle import SIGNALS, Events


@contextmanager
def background(
    events: Events, work: Callable[[], Any], on_answer: Callable[[Any], None]
) -> Iterator[Callable[[float], None]]:
    """Run `work` in a child process while the context lasts; pass its result to `on_answer` during a wait for events.

    It uses os.fork: a pipe and a process of `multiprocessing` would cost the waiting sidecar 1 MiB more memory.

    Args:
        events: The events that the caller waits for.
        work: Returns a value that JSON can encode.
        on_answer: Receives that value; None if the child ended without an answer.

    Returns:
        A function that waits for the answer, up to the given number of seconds.
    """
    # A process and not a thread: what `work` imports (redis: 21 MiB) ends with it, and the wait may be long.
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        _work(work, writer)
    # Else the pipe stays open after the child's end, and read() never returns.
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
        # A late answer must not change a message that is already written.
        if events.forget(reader):
            os.close(reader)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


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
