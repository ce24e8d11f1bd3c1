"""Publishes the results of sweeps as Prometheus metrics.

Source: https://prometheus.io/docs/practices/naming/ (names, base units, `_total`, timestamps rather than ages).
"""

import re
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, push_to_gateway
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from k6_sweep.files.ours import check_ours, is_metrics
from k6_sweep.files.whole import write_whole
from k6_sweep.report import Report
from k6_sweep.status import Status

_JOB: Final = "k6-sweep"
_LAST: Final = "k6_sweep_last_"
_DRY_RUN: Final = _LAST + "dry_run_"
_NO_SWEEP: Final = _LAST + "no_sweep_"
_NAME: Final = re.compile(rf"(?:# (?:HELP|TYPE) )?({_DRY_RUN}|{_NO_SWEEP}|{_LAST})".encode())
_DURATIONS: Final = (0.1, 0.3, 1, 3, 10, 30, 60, 120, 300, 600)


class LastRuns(Collector):
    """Collects metrics of the latest report of each kind. An unknown value has no sample: a 0 would be a claim."""

    def __init__(self) -> None:
        self._latest: dict[str, tuple[Report, float]] = {}
        self._succeeded: float | None = None

    def note(self, report: Report) -> None:
        """Store a report with the current time."""
        ended = time.time()
        kind = _kind(report)
        self._latest[kind] = report, ended
        if kind == _LAST and report.status is Status.COMPLETE:
            self._succeeded = ended

    def note_earlier(self, report: Report, ended: float) -> None:
        """Store a report from before this process, unless it has one of this kind: give it the newest ones first."""
        kind = _kind(report)
        self._latest.setdefault(kind, (report, ended))
        if kind == _LAST and report.status is Status.COMPLETE and self._succeeded is None:
            self._succeeded = ended

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the metrics of the stored reports."""
        for kind, (report, ended) in list(self._latest.items()):  # another thread may store one meanwhile
            yield from _families(kind, report, ended)
        if self._succeeded is not None:
            yield _gauge(
                _LAST, "success_timestamp_seconds", "Time when the last complete sweep ended.", self._succeeded
            )


def _kind(report: Report) -> str:
    """Return how the names of the report's metrics begin.

    A run that was not to delete anything never replaces the metrics of a sweep: an alert about that sweep would end.
    """
    if report.dry_run or report.status is Status.DRY_RUN:
        return _DRY_RUN
    return _NO_SWEEP if report.status in {Status.SKIPPED, Status.HANDED_OVER} else _LAST


def _families(kind: str, report: Report, ended: float) -> Iterator[GaugeMetricFamily]:
    """Yield the metrics of a report; their names begin with its kind."""
    sweep, gauge, labelled = report.sweep, partial(_gauge, kind), partial(_labelled, kind)
    ways: dict[str, float] = {status: status is report.status for status in Status if status.event_reason}
    yield labelled("status", "Status of the last run.", "status", ways)
    yield gauge("end_timestamp_seconds", "Time when the last run ended.", ended)
    if report.k6 and report.k6.exit_code is not None:
        yield gauge("k6_exit_code", "Exit code of k6 in the last run.", report.k6.exit_code)
    if report.owed is not None:
        yield gauge("owed_sweeps", "Number of other tests whose sweeps were owed after the last run.", report.owed)
    if sweep is None:
        return
    yield gauge("warnings", "Number of warnings in the report of the last run.", len(report.all_warnings))
    # One UNLINK has keys of several patterns, and its reply is one number: deleted keys are known only by shard.
    yield labelled("deleted_keys", "Keys that the last sweep deleted.", "shard", sweep.shards)
    yield labelled("matched_keys", "Matching keys that the last sweep found.", "pattern", sweep.patterns)
    yield labelled("preserved_keys", "Matching keys that it preserved.", "pattern", sweep.preserved_by_pattern)
    if sweep.remaining_by_pattern is not None:
        yield labelled(
            "remaining_keys", "Matching keys that its last pass found.", "pattern", sweep.remaining_by_pattern
        )
    yield gauge("duration_seconds", "Duration of the last sweep.", sweep.seconds)
    yield gauge("passes", "Number of passes of the last sweep.", sweep.passes)
    yield gauge("retries", "Number of retries of the last sweep.", sweep.retries)
    yield gauge("exact", "1 if the number of deleted keys is precise.", sweep.exact)
    if sweep.slots_done is not None:
        ratio = sweep.slots_done / max(1, sweep.slots_asked)
        yield gauge("covered_slots_ratio", "Share of the slots that were swept completely.", ratio)


class ServerMetrics:
    """The metrics of an endpoint since its start."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._last = LastRuns()
        self.note_earlier = self._last.note_earlier
        self.registry.register(self._last)
        self._sweeps = Counter("k6_sweep_sweeps", "Sweeps that ended, by status.", ["status"], registry=self.registry)
        self._deleted = Counter("k6_sweep_deleted_keys", "Keys that this endpoint deleted.", registry=self.registry)
        self._seconds = Histogram(
            "k6_sweep_duration_seconds", "Durations of the sweeps.", registry=self.registry, buckets=_DURATIONS
        )
        self._requests = Counter(
            "k6_sweep_http_requests", "Answered requests.", ["method", "path", "code"], registry=self.registry
        )
        for status in Status:
            if status.http_code is not None:
                self._sweeps.labels(status)

    def note_sweep(self, report: Report) -> None:
        """Count a finished sweep."""
        self._last.note(report)
        self._sweeps.labels(report.status).inc()
        self._deleted.inc(report.counts.deleted)
        if report.sweep:
            self._seconds.observe(report.sweep.seconds)

    def note_request(self, method: str, path: str, code: int) -> None:
        """Count an answer; the path is that of a route, which limits the number of different labels."""
        self._requests.labels(method, path, str(code)).inc()


def push(report: Report, url: str, grouping: Mapping[str, str], seconds: float) -> None:
    """Send a run's metrics to a Pushgateway; they replace the earlier ones of their group.

    Raises:
        OSError: The Pushgateway cannot be reached or refuses them.
    """
    push_to_gateway(url, _JOB, _registry(report), dict(grouping), timeout=seconds)


def write(report: Report, file: Path) -> None:
    """Write a run's metrics to a file in one step; those of the latest run of each other kind stay in it.

    Raises:
        OSError: The file cannot be written, or has a text that is not k6-sweep's.
    """
    check_ours(file, is_metrics)
    before = file.read_bytes().split(b"\n") if file.exists() else []
    kind = _kind(report).encode()
    others = [line + b"\n" for line in before if (name := _NAME.match(line)) and name[1] != kind]
    write_whole(file, [*others, generate_latest(_registry(report))])


def _registry(report: Report) -> CollectorRegistry:
    registry, last = CollectorRegistry(), LastRuns()
    last.note(report)
    registry.register(last)
    return registry


def _gauge(kind: str, name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(kind + name, text, float(value))


def _labelled(kind: str, name: str, text: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(kind + name, text, labels=[label])
    for each, value in values.items():
        family.add_metric([each.encode("utf-8", "backslashreplace").decode()], float(value))
    return family
