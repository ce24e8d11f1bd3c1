"""Records the sweeps of this replica in Redis, and finds those of the other replicas there."""

import json
import re
from typing import Final, Protocol

from k6_sweep.cluster.history import Record
from k6_sweep.errors import RedisError
from k6_sweep.log import Log, LogEvent
from k6_sweep.report import Report

_LONGEST_REPORT: Final = 1000
"""Bytes of a report in Redis: the list with all sweeps stays below 64 KB."""
_ID: Final = re.compile(r"[0-9a-f]{12}")


class History(Protocol):
    """The latest sweeps of all replicas."""

    def note(self, record: Record) -> None:
        """Enter a sweep, or replace its entry."""

    def read(self) -> list[Record]:
        """Return all entries, newest first."""


class Journal:
    """The history, as this replica writes and reads it. Any thread may call its methods."""

    def __init__(self, history: History, who: str, log: Log) -> None:
        """Store the arguments; `who` is the pod, or the host, of this replica."""
        self._history = history
        self._log = log
        self._failed = False
        self.who = who

    def note(self, record: Record, report: Report) -> None:
        """Record a sweep with this report; if Redis refuses, log it once and go on: the sweep matters more."""
        try:
            self._history.note(record.with_report(json.loads(report.message(_LONGEST_REPORT))))
        except RedisError as error:
            if not self._failed:
                self._log.warning(LogEvent.SWEEP_NOT_RECORDED, problem=str(error))
            self._failed = True
        else:
            self._failed = False

    def read(self) -> list[Record]:
        """Return the latest sweeps of all replicas, newest first.

        Raises:
            RedisError: Redis does not answer, or denies it.
        """
        return self._history.read()

    def of_here(self) -> list[Record]:
        """Return the latest sweeps of the replicas in this namespace, or on this host; raise as `read` does."""
        return [each for each in self.read() if _place(each.who) == _place(self.who)]

    def find(self, sweep_id: str) -> Record | None:
        """Return a sweep by its id, or None; raise as `read` does. Only for an id that can exist, it asks Redis."""
        found = self.read() if _ID.fullmatch(sweep_id) else []
        return next((each for each in found if each.id == sweep_id), None)


def _place(who: str) -> str:
    """Return the namespace of a pod, or the host of a process elsewhere."""
    return who.partition("/")[0]
