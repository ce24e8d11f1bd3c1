"""`k6-sweep run`, and the sweep that `watch` ends in: within the time that there is, telling how far it is."""

import time
from typing import Final

from sidecar.budget import Budget
from sidecar.commands.context import Context
from sidecar.commands.event import emit_event
from sidecar.errors import RedisError, RefusedError
from sidecar.lifecycle import Events
from sidecar.log import Log
from sidecar.report import Report
from sidecar.sweep.guard import check_namespace
from sidecar.sweep.result import Progress
from sidecar.watch.outcome import K6Outcome

_MESSAGE_EVERY: Final = 1.0
_LOG_EVERY: Final = 5.0


def run(context: Context) -> Report:
    """Sweep now, once."""
    with Events() as events:
        report = sweep_in_time(context, events, Budget(context.settings.timeout))
        context.tell(report)
        emit_event(context, report)
        return report


def sweep_in_time(context: Context, events: Events, budget: Budget, k6: K6Outcome | None = None) -> Report:
    """Sweep, within the time that --timeout and signals leave, telling how far it is."""
    from sidecar.sweep.link import Connector  # noqa: PLC0415  # loads redis, which waiting doesn't need
    from sidecar.sweep.sweeper import sweep  # noqa: PLC0415  # the same

    settings, log = context.settings, context.log
    deadline = time.monotonic() + settings.timeout
    next_message, lines = time.monotonic() + _MESSAGE_EVERY, ProgressLines(log)

    def remaining() -> float:
        if events.urgent:
            return 0.0
        return budget.sweep_until(deadline, events.first_signal) - time.monotonic()

    def on_progress(progress: Progress) -> None:
        nonlocal next_message
        lines(progress)
        if time.monotonic() >= next_message:
            next_message = time.monotonic() + _MESSAGE_EVERY
            context.tell(Report("sweeping", dry_run=settings.dry_run, progress=progress, k6=k6))

    check_namespace(settings.allowed_namespace, context.pod.namespace)
    context.tell(Report("sweeping", dry_run=settings.dry_run, k6=k6))
    log.info("the sweep begins", dry_run=settings.dry_run)
    try:
        result = sweep(settings, Connector(settings, remaining), remaining, log, on_progress)
    except (RefusedError, RedisError) as error:
        return Report(error.status, dry_run=settings.dry_run, k6=k6, errors=(str(error),), code=error.exit_code)
    if k6 is None or k6.ended:
        return Report(result.status.value, dry_run=settings.dry_run, sweep=result, k6=k6)
    alive = "k6 had not ended when the time to wait for it was over; it may write more"
    alive += f" ({k6.why})" if k6.why else ""
    return Report("incomplete", dry_run=settings.dry_run, sweep=result, k6=k6, errors=(alive,))


class ProgressLines:
    """Logs a line now and then, of the progress that it is called with."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._next = time.monotonic() + _LOG_EVERY

    def __call__(self, progress: Progress) -> None:
        """Take in how far it is."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _LOG_EVERY
        percent = round(100 * progress.slots_done / max(1, progress.slots_asked), 1)
        keys = {"deleted": progress.deleted, "matched": progress.matched}
        self._log.info("under way", percent=percent, pass_number=progress.pass_number, **keys)
