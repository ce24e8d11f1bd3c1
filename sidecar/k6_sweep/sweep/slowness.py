"""Finds what a slow sweep waits for most (--max-rate, network, servers, its own CPU), and which setting helps."""

import time
from collections.abc import Sequence
from typing import Final

from k6_sweep.cluster.link import Link
from k6_sweep.log import Log, LogEvent
from k6_sweep.settings.all import Settings

_ENOUGH: Final = 3.0
"""Seconds of work after which its rate is known well enough."""


class Times:
    """How the worker of one primary spends its time, from now on."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._before = link.waited, link.trips, link.in_trips
        self._began = time.monotonic()
        self._ended: float | None = None
        self.paced = 0.0
        """Seconds that it waited for --max-rate."""

    def end(self) -> None:
        """Stop the clock."""
        self._ended = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds until now, or until the end."""
        return (self._ended or time.monotonic()) - self._began

    @property
    def waited(self) -> float:
        """Seconds that it waited for replies."""
        return self._link.waited - self._before[0]

    @property
    def trip(self) -> float:
        """The mean round trip in seconds."""
        trips = self._link.trips - self._before[1]
        return (self._link.in_trips - self._before[2]) / trips if trips else 0.0

    @property
    def way(self) -> float:
        """The shortest round trip in seconds: the part of the network."""
        return self._link.shortest_trip


class Slowness:
    """Logs once that a pass will not be finished in time."""

    def __init__(self, settings: Settings, log: Log) -> None:
        self._settings = settings
        self._log = log
        self._said = False

    def look(self, left: float | None, limit: float, workers: Sequence[Times]) -> None:
        """Look at a running pass.

        Args:
            left: Seconds that the rest of the pass takes, if that is known.
            limit: Seconds that the sweep still has.
            workers: How the pass's workers spend their time.
        """
        if self._said or left is None or left <= limit or max((each.elapsed for each in workers), default=0) < _ENOUGH:
            return
        if cause := cause_of_slowness(workers, self._settings):
            self._said = True
            late = f"this pass needs about {left:.0f} s more, but the sweep ends in {max(0.0, limit):.0f} s"
            self._log.warning(LogEvent.SWEEP_SLOW, problem=f"{late}; {cause}")


def cause_of_slowness(workers: Sequence[Times], settings: Settings) -> str | None:
    """Return what took most of the workers' time, as a sentence; None if they have not done anything yet."""
    elapsed = sum(each.elapsed for each in workers)
    answered = [each for each in workers if each.trip]
    if not answered:
        return None
    waited, paced = sum(each.waited for each in workers), sum(each.paced for each in workers)
    slowest = max(answered, key=lambda each: each.trip)
    trip, way = f"{slowest.trip * 1000:.3g} ms", f"{slowest.way * 1000:.3g} ms"
    if paced >= max(waited, elapsed - paced - waited):
        return f"most of the time went to --max-rate {settings.max_rate}; raise it, or raise --timeout"
    if waited < elapsed - waited:
        return (
            "most of the time went to k6-sweep's own work; give its container more CPU (resources.limits.cpu), or "
            "raise --timeout"
        )
    if slowest.way >= slowest.trip / 2:
        return (
            f"most of the time went to the network: a round trip takes {way} at least; run k6-sweep nearer to Redis, "
            "or raise --timeout"
        )
    return (
        f"most of the time went to waiting for Redis: a round trip takes {trip}, of which the network needs {way}; "
        "raise --timeout, or --latency-budget if other clients can wait longer"
    )
