"""Runs a call that may hang, such as the lookup of a name, on a thread that does not hold up the process's end."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def on_thread(work: Callable[[], T]) -> "Future[T]":
    """Begin the work; the caller may stop waiting for its result."""
    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:  # noqa: BLE001  # raised again where the result is read
            result.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return result
