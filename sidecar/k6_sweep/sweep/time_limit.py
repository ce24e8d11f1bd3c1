"""The time that a sweep has left, and what ended it."""

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple


class End(NamedTuple):
    """A moment at which a sweep must end."""

    at: float
    """On the monotonic clock."""
    reason: str
    """The sentence for the report, if this moment ended the sweep."""


def end_by_timeout(seconds: float) -> End:
    """Return the end of a sweep that begins now, as --timeout limits it."""
    reason = f"stopped by --timeout ({seconds:g} s); keys may remain; raise --timeout, or run k6-sweep again"
    return End(time.monotonic() + seconds, reason)


class TimeLimit:
    """The earliest of several ends; most of them are only known when a signal or a request has come."""

    def __init__(self, ends: Callable[[], Iterable[End]]) -> None:
        """Prepare; `ends` returns the ends that are known at the time of the call, at least one."""
        self.ends = ends

    def remaining(self) -> float:
        """Return the seconds left; they may drop at any time; at 0 or less the sweep stops before its next write."""
        return min(self.ends()).at - time.monotonic()

    def reason(self) -> str:
        """Return what ends the sweep first."""
        return min(self.ends()).reason
