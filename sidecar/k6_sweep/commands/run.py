"""`k6-sweep run`, and the sweep that every sweeping command runs: within its time limits, with progress."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final, Protocol

from k6_sweep.budget import Budget
from k6_sweep.commands.announce import announce
from k6_sweep.commands.context import Context, failure
from k6_sweep.commands.progress import shown
from k6_sweep.commands.show_keys import Sample, terminal
from k6_sweep.commands.used_snapshot import note_use
from k6_sweep.errors import RedisError, RefusedError
from k6_sweep.kube.own_pod import OwnPod
from k6_sweep.lifecycle import Events
from k6_sweep.log import Log, LogEvent
from k6_sweep.report import Report
from k6_sweep.settings.all import Settings
from k6_sweep.status import Status
from k6_sweep.sweep.guard import check_namespace
from k6_sweep.sweep.result import FaultError, OnFound, OnProgress, Progress
from k6_sweep.sweep.time_limit import End, TimeLimit, end_by_timeout
from k6_sweep.watch.outcome import K6Outcome

_MESSAGE_EVERY: Final = 1.0
"""Seconds between two writes of the termination message: after a SIGKILL, its counts are about that old."""


class Neighbours(Protocol):
    """The other tests, which a sweep must not disturb."""

    def may_begin(self, topology: Any, remaining: Callable[[], float]) -> None:  # Any: its type would load redis
        """Return if the sweep may begin; raise RefusedError if it would disturb a test."""

    def tick(self) -> None:
        """Look, if it is time, for a test that has begun during the sweep."""

    def ends(self) -> Iterator[End]:
        """Yield when the sweep must end because of a test that has begun."""
        ...


def run(context: Context) -> Report:
    """Sweep now, once."""
    settings = context.settings
    sample = Sample(settings.pattern, settings.show_keys, terminal()) if settings.show_keys else None
    from k6_sweep.commands.lookout import lookout_of  # loads redis, which `watch` does not need while it waits

    lookout = lookout_of(settings, context.pod, context.run, context.log)
    report = sweep_in_time(context, context.signals(), on_found=sample.add if sample else None, neighbours=lookout)
    if lookout:
        report = lookout.settle(report)
    if sample:
        sample.show()
    announce(context, report)
    note_use(settings, context.log, report)
    return report


def sweep_in_time(
    context: Context,
    events: Events,
    budget: Budget | None = None,
    k6: K6Outcome | None = None,
    on_found: OnFound | None = None,
    neighbours: Neighbours | None = None,
) -> Report:
    """Sweep within the time that --timeout and signals leave, and show the progress.

    With a budget, the first signal leaves the sweep its share of the grace period; without one, it ends the sweep.
    With neighbours, no sweep begins or goes on while another test is running.
    """
    settings = context.settings
    next_message = time.monotonic() + _MESSAGE_EVERY
    timeout = end_by_timeout(settings.timeout)
    limit = TimeLimit(lambda: (timeout, *_ends_by_signal(events, budget), *(neighbours.ends() if neighbours else ())))

    with shown(context.log) as show:

        def on_progress(progress: Progress) -> None:
            nonlocal next_message
            show(progress)
            if neighbours:
                neighbours.tick()
            if time.monotonic() >= next_message:
                next_message = time.monotonic() + _MESSAGE_EVERY
                context.tell(Report(Status.SWEEPING, dry_run=settings.dry_run, progress=progress, k6=k6))

        context.tell(Report(Status.SWEEPING, dry_run=settings.dry_run, k6=k6))
        report = sweep_once(settings, context.pod, context.log, limit, on_progress, on_found, neighbours)
    report = replace(report, k6=k6)
    if report.sweep is None or k6 is None or k6.ended:
        return report
    alive = "k6 was still running when the wait ended (--max-wait or SIGTERM); it may write more keys"
    alive += f" ({k6.why})" if k6.why else ""
    return replace(report, status=Status.INCOMPLETE, errors=(alive,))


def _ends_by_signal(events: Events, budget: Budget | None) -> Iterator[End]:
    signalled, cause = events.first_signal, events.signalled_by
    if signalled is None:
        return
    at = events.urgent_signal or (signalled if budget is None else None)
    if at is not None:
        yield End(at, f"stopped by {cause}; keys may remain; run k6-sweep again")
    elif budget:
        yield End(
            budget.sweep_until(float("inf"), signalled),
            f"stopped by the end of the grace period after {cause}; keys may remain; raise --grace-period and the "
            "pod's terminationGracePeriodSeconds, or run k6-sweep again",
        )


def sweep_once(
    settings: Settings,
    pod: OwnPod,
    log: Log,
    limit: TimeLimit,
    on_progress: OnProgress,
    on_found: OnFound | None = None,
    neighbours: Neighbours | None = None,
) -> Report:
    """Sweep and return the report; it gives the reason if the sweep was refused or failed.

    Args:
        settings: The patterns, the guards and the pace of the sweep.
        pod: The pod of k6-sweep.
        log: Receives the steps.
        limit: The time that the sweep has.
        on_progress: Called a few times a second, on the calling thread.
        on_found: In a dry run, gets the keys that a sweep would delete.
        neighbours: Refuses the sweep if it would disturb a running test.
    """
    from k6_sweep.cluster.connector import Connector  # loads redis, which waiting does not need
    from k6_sweep.sweep.sweeper import sweep

    log.info(LogEvent.SWEEP_STARTED, dry_run=settings.dry_run)
    try:
        check_namespace(settings.allowed_namespace, pod.namespace)
        connect = Connector(settings, limit.remaining)
        may_begin = neighbours.may_begin if neighbours else lambda *_: None
        result = sweep(settings, connect, limit, log, on_progress, on_found, pod.uid, may_begin)
    except FaultError as error:
        log.exception(LogEvent.INTERNAL_ERROR)
        return Report(error.status, dry_run=settings.dry_run, progress=error.progress, errors=(str(error),))
    except (RefusedError, RedisError) as error:
        return replace(failure(error, limit), dry_run=settings.dry_run)
    for pattern, matched in result.patterns.items() if not log.on_terminal else ():  # there the report has them
        log.info(LogEvent.PATTERN_COUNTED, pattern=pattern, matched=matched)
    return Report(result.status, dry_run=settings.dry_run, sweep=result)
