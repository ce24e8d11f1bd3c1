"""`k6-sweep snapshot`: records, before the test, which keys already exist."""

import dataclasses
import time
from collections.abc import Iterator

from k6_sweep.cluster.connector import Connector
from k6_sweep.commands.context import ContextOf, failure
from k6_sweep.commands.progress import shown
from k6_sweep.errors import RedisError, RefusedError, SettingsError
from k6_sweep.lifecycle import Events
from k6_sweep.log import LogEvent
from k6_sweep.report import Report
from k6_sweep.settings.snapshot import SnapshotSettings
from k6_sweep.status import Status
from k6_sweep.sweep.guard import check_namespace
from k6_sweep.sweep.read_snapshot import read_snapshot
from k6_sweep.sweep.sweeper import take_snapshot
from k6_sweep.sweep.time_limit import End, TimeLimit


def snapshot(context: ContextOf[SnapshotSettings]) -> Report:
    """Record, before the test, which keys already exist."""
    settings, out = context.settings, context.settings.out
    check_namespace(settings.allowed_namespace, context.pod.namespace)
    if out.exists():
        return _kept(context)
    events = context.signals()
    timeout = _end_by_timeout(settings.timeout)
    limit = TimeLimit(lambda: (timeout, *_end_by_signal(events)))
    try:
        with shown(context.log) as show:
            taken, report = take_snapshot(settings, Connector(settings, limit.remaining), limit, context.log, show)
    except RedisError as error:
        return failure(error, limit)
    if events.first_signal is not None:
        return Report(Status.INCOMPLETE, sweep=report)
    if out.exists():  # written by another process meanwhile
        return _kept(context)
    try:
        dataclasses.replace(taken, pod=context.pod.uid).write(out)
    except OSError as error:
        raise SettingsError([f"--out cannot be written: {error}; choose a writable path"]) from error
    context.log.info(LogEvent.SNAPSHOT_TAKEN, keys=taken.size, file=str(out))
    return Report(report.status, sweep=report)


def _end_by_timeout(seconds: float) -> End:
    reason = f"stopped by --timeout ({seconds:g} s): the snapshot does not cover all slots; raise --timeout"
    return End(time.monotonic() + seconds, reason)


def _end_by_signal(events: Events) -> Iterator[End]:
    if events.first_signal is not None:
        yield End(events.first_signal, f"stopped by {events.signalled_by} before the snapshot was written")


def _kept(context: ContextOf[SnapshotSettings]) -> Report:
    """Return the report for an existing file: a restarted init container must not record the test's keys."""
    out = context.settings.out
    try:
        found = read_snapshot(out)
    except RefusedError as error:
        raise RefusedError(f"{out} already exists, and {error}; --out must name a new file") from error
    if not found.is_of(context.pod.uid):
        raise RefusedError(f"{out} already exists: it is {found}; delete it to take a new one")
    found.check_patterns(context.settings.pattern, out)
    context.log.warning(LogEvent.SNAPSHOT_KEPT, snapshot=str(found))
    return Report(Status.INCOMPLETE if found.unproven else Status.COMPLETE, errors=(f"kept {found}",))
