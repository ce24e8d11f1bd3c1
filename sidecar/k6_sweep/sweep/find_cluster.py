"""Waits for a Redis that does not answer yet, and checks that it is the right one."""

from collections.abc import Callable
from typing import Final

from k6_sweep.cluster.link import Connect
from k6_sweep.cluster.topology import Topology
from k6_sweep.errors import UnreachableError
from k6_sweep.log import Log, LogEvent
from k6_sweep.settings.all import Settings
from k6_sweep.sweep.in_time import in_time, pause
from k6_sweep.sweep.marker import check_marker
from k6_sweep.sweep.one_pass import Rounds
from k6_sweep.sweep.snapshot import Snapshot

MayBegin = Callable[[Topology, Callable[[], float]], None]
"""Gets the topology and a function that returns the seconds left; raises RefusedError if no sweep may begin now."""
_RETRY: Final = 0.5
"""Seconds between two attempts."""


def find_cluster(
    settings: Settings,
    connect: Connect,
    remaining: Callable[[], float],
    log: Log,
    rounds: Rounds,
    existing: Snapshot | None = None,
) -> None:
    """Let `rounds` read the topology, then check the snapshot's Redis and the marker.

    Raises:
        RefusedError: It is another Redis than that of the snapshot, or the marker is missing.
        UnreachableError: Redis does not answer, and no time remains.
        DeniedError: The server refused, and a retry does not help.
    """
    _read_topology(rounds, remaining, log)
    if existing is not None and settings.preserve_existing is not None:
        existing.check_redis(in_time(rounds.identity, remaining), settings.preserve_existing)
        log.info(LogEvent.EXISTING_PRESERVED, snapshot=str(existing))
    in_time(lambda: check_marker(settings.require_marker, rounds.topology, connect), remaining)


def _read_topology(rounds: Rounds, remaining: Callable[[], float], log: Log) -> None:
    """Read the topology; while Redis is unreachable, try again until no time remains."""
    latest: UnreachableError | None = None
    while True:
        try:
            rounds.refresh(remaining)
        except UnreachableError as error:
            if remaining() <= 0:
                raise latest or error from None  # the last attempt was cut short, so it may not know the cause
            if latest is None:
                log.warning(LogEvent.REDIS_UNREACHABLE, problem=str(error))
            latest = error
            pause(_RETRY, remaining)
        else:
            return
