"""Keeps the latest sweeps of all replicas of the endpoint in one key in Redis, which expires after an hour.

So the end of a sweep can be read when its replica is gone, and the sweep of a replica that was killed is no longer
reported as running. The key holds counts and patterns, and no names of keys.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Self

from k6_sweep.cluster.endpoint_keys import LAST_PATIENCE, PATIENCE, EndpointKeys
from k6_sweep.cluster.lock import LOCK_NAME, Holder, holder_in, in_utc
from k6_sweep.status import Status

LATEST: Final = 20
"""Number of sweeps in the list."""
KEPT_FOR: Final = 3600.0
"""Seconds that the list lasts after its last change."""
_NAME: Final = b"sweeps"
_WHAT: Final = "list of sweeps"
_LONGEST_PATTERNS: Final = 1000
"""Characters of a sweep's patterns together; longer ones are left out, so that the key stays small."""


@dataclass(frozen=True)
class Record:
    """One sweep, as the list holds it."""

    id: str
    who: str
    """The pod, or the host, of its replica."""
    since: float
    """When it began, in seconds since 1970."""
    dry_run: bool
    report: Mapping[str, Any]
    """The report of its end, or of its progress, without detail."""
    patterns: Sequence[str] = field(default_factory=list)

    def with_report(self, report: Mapping[str, Any]) -> Self:
        """Return the sweep with this report."""
        return replace(self, report=report)

    @property
    def status(self) -> Status:
        """The status of its report."""
        return Status(self.report["status"])

    @property
    def ended(self) -> float:
        """About when it ended, in seconds since 1970."""
        seconds = self.report.get("seconds")
        return self.since + (seconds if isinstance(seconds, (int, float)) else 0)

    @property
    def began(self) -> str:
        """When it began, in the format of the report."""
        return in_utc(self.since)


class History:
    """The list of the latest sweeps, newest first.

    Its methods raise `UnreachableError` if Redis does not answer or is full, `DeniedError` if the user may not SET or
    GET. Only the holder of the lock changes the list, so no change is lost; a lost one would do no harm.
    """

    def __init__(self, keys: EndpointKeys) -> None:
        self._keys = keys
        self._list = keys.key(_NAME)
        self._lock = keys.key(LOCK_NAME)

    def note(self, record: Record) -> None:
        """Enter a sweep into the list, or replace its entry."""
        (text,) = self._keys.ask(_WHAT, LAST_PATIENCE, ("GET", self._list))
        if len("".join(record.patterns)) > _LONGEST_PATTERNS:
            record = replace(record, patterns=[])
        latest = newest_first([record, *(each for each in _records_in(text) if each.id != record.id)])
        value = json.dumps([asdict(each) for each in latest], separators=(",", ":"))
        self._keys.ask(_WHAT, LAST_PATIENCE, ("SET", self._list, value, b"PX", int(KEPT_FOR * 1000)))

    def read(self) -> list[Record]:
        """Return the list; a sweep that has no end and does not hold the lock is `incomplete`."""
        get = ("GET", self._list)
        before, lock, after = self._keys.ask(_WHAT, PATIENCE, get, ("GET", self._lock), get)
        holder = holder_in(lock)
        # A sweep enters its end before it releases the lock, and takes the lock before it enters itself. So one that
        # was unfinished before and after a look at the lock, which it did not hold, has no replica any more.
        began = {each.id for each in _records_in(before)}
        return [_judged(each, holder) if each.id in began else each for each in _records_in(after)]


def newest_first(records: Iterable[Record]) -> list[Record]:
    """Return the latest records, at most LATEST of them."""
    return sorted(records, key=lambda each: each.since, reverse=True)[:LATEST]


def _judged(record: Record, holder: Holder | None) -> Record:
    if record.status is not Status.SWEEPING or (holder and holder.id == record.id):
        return record
    lost = (
        f"{record.who} stopped renewing the sweep lock before it recorded a result, so it was probably killed; "
        "the counts may be too low, and keys may remain: send the request again"
    )
    errors = [lost, *record.report["errors"]]
    return record.with_report({**record.report, "status": Status.INCOMPLETE, "errors": errors})


def _records_in(text: bytes | None) -> list[Record]:
    """Return the records of the list's value; none of a value that another program or version has written."""
    try:
        return [_record(each) for each in json.loads(text or b"[]")]
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, OSError, RecursionError):
        return []


def _record(body: Any) -> Record:
    """Return one record; any other value of JSON raises one of many errors."""
    report = dict(body["report"])
    record = Record(
        id=str(body["id"]),
        who=str(body["who"]),
        since=float(body["since"]),
        dry_run=body["dry_run"] is True,
        report=report | {"deleted": int(report["deleted"]), "errors": list(map(str, report["errors"]))},
        patterns=list(map(str, body["patterns"])),
    )
    if not (record.status and record.began):
        raise ValueError
    return record
