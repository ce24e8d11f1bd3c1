"""Limits the log to one line a second for each kind of trouble that clients without the token can cause."""

import logging
import time
from collections.abc import Callable, Hashable
from typing import Final

_PERIOD: Final = 1.0
"""Seconds between two lines of one kind."""


class Throttle:
    """Decides which lines of a kind are logged. The caller keeps the number of kinds small."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """Store the clock, which gives seconds."""
        self._now = now
        self._next: dict[Hashable, float] = {}
        self._left_out: dict[Hashable, int] = {}

    def passes(self, kind: Hashable) -> int | None:
        """Return how many lines of this kind were left out before this one; None if this one is left out, too."""
        now = self._now()
        if now < self._next.get(kind, now):
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return None
        self._next[kind] = now + _PERIOD
        return self._left_out.pop(kind, 0)


class ThrottledRecords(logging.Filter):
    """Throttles the records of a library. A kind is a place in its code: a client can choose the words."""

    def __init__(self) -> None:
        super().__init__()
        self._throttle = Throttle()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is logged."""
        left_out = self._throttle.passes((record.pathname, record.lineno))
        if left_out:
            record.msg, record.args = f"{record.getMessage()} ({left_out} more of this kind not logged)", None
        return left_out is not None
