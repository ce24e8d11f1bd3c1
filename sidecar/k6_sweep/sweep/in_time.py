"""Waits, and calls that may hang, which end when no time remains."""

import time
from collections.abc import Callable
from concurrent.futures import wait
from typing import Final, TypeVar

from k6_sweep.cluster.on_thread import on_thread
from k6_sweep.errors import UnreachableError

_LOOK: Final = 0.1
"""Seconds between two looks at the time that is left, so that a wait ends soon after a signal."""
_GRACE: Final = 0.3
"""Seconds that a call may take after that, so that the report of a sweep that was stopped is precise."""

T = TypeVar("T")


def pause(seconds: float, remaining: Callable[[], float], meanwhile: Callable[[], None] = lambda: None) -> None:
    """Sleep, but no longer than time remains; call `meanwhile` again and again."""
    end = time.monotonic() + seconds
    while (left := min(end - time.monotonic(), remaining())) > 0:
        time.sleep(min(left, _LOOK))
        meanwhile()


def in_time(work: Callable[[], T], remaining: Callable[[], float]) -> T:
    """Return the result of `work`, or abandon it when no time remains: Redis or a name server may not answer.

    Raises:
        UnreachableError: No time remains.
    """
    result = on_thread(work)
    while not wait([result], _LOOK).done:
        if remaining() < -_GRACE:
            raise UnreachableError("Redis did not answer before the time was over")
    return result.result()
