"""`k6-sweep snapshot`: records, before the test, which keys already exist."""

import dataclasses
import time

from k6_sweep.cluster.connector import Connector
from k6_sweep.commands.context import ContextOf
from k6_sweep.commands.progress import shown
from k6_sweep.errors import RefusedError, SettingsError
from k6_sweep.lifecycle import Events
from k6_sweep.log import LogEvent
from k6_sweep.report import Report
from k6_sweep.settings.snapshot import SnapshotSettings
from k6_sweep.status import Status
from k6_sweep.sweep.guard import check_namespace
from k6_sweep.sweep.read_snapshot import read_snapshot
from k6_sweep.sweep.sweeper import take_snapshot


def snapshot(context: ContextOf[SnapshotSettings]) -> Report:
    """Record, before the test, which keys already exist."""
    settings, out = context.settings, context.settings.out
    check_namespace(settings.allowed_namespace, context.pod.namespace)
    if out.exists():
        return _kept(context)
    deadline = time.monotonic() + settings.timeout
    with Events() as events, shown(context.log) as show:

        def remaining() -> float:
            return deadline - time.monotonic() if events.first_signal is None else 0.0

        taken, report = take_snapshot(settings, Connector(settings, remaining), remaining, context.log, show)
        if events.first_signal is not None:
            return Report(
                Status.INCOMPLETE,
                sweep=report,
                errors=("a signal stopped the snapshot before it was complete; no file was written",),
            )
    if out.exists():  # written by another process meanwhile
        return _kept(context)
    try:
        dataclasses.replace(taken, pod=context.pod.uid).write(out)
    except OSError as error:
        raise SettingsError([f"--out cannot be written: {error}; choose a writable path"]) from error
    context.log.info(LogEvent.SNAPSHOT_TAKEN, keys=taken.size, file=str(out))
    return Report(report.status, sweep=report)


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
