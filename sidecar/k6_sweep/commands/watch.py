"""`k6-sweep watch`: waits for the end of k6, then sweeps."""

import time
from dataclasses import replace
from typing import Any, Final

from k6_sweep.budget import Budget
from k6_sweep.commands.announce import announce
from k6_sweep.commands.background import background
from k6_sweep.commands.context import Context, failure
from k6_sweep.commands.detectors import DETECTORS, Board, own_pod_now
from k6_sweep.commands.registration import LAST_ANSWER, Registration
from k6_sweep.commands.run import sweep_in_time
from k6_sweep.commands.used_snapshot import note_use
from k6_sweep.errors import SweepError
from k6_sweep.lifecycle import Events
from k6_sweep.log import LogEvent
from k6_sweep.report import Report
from k6_sweep.settings.all import Settings
from k6_sweep.status import Status
from k6_sweep.sweep.guard import check_breadth, check_namespace
from k6_sweep.watch.outcome import K6Outcome

_QUICKLY: Final = 1.0
"""Seconds that an answer of the API server may take when time is short."""
_STATUS_SECONDS: Final = 8.0
"""Seconds that the kubelet may take to report k6's end to the API server."""


def watch(context: Context) -> Report:
    """Wait for the end of k6, then sweep."""
    events = context.signals()
    registration = Registration(context, events)
    try:
        report = _watch(context, events, registration)
    except SweepError as error:
        report = failure(error)
    context.tell(report)
    report = registration.leave(report)
    announce(context, report)
    if context.settings.native and events.first_signal is None:
        # If a native sidecar exits while other containers run, the kubelet restarts it, and it would sweep again.
        context.log.info(LogEvent.WAITING_FOR_SIGTERM, status=report.status)
        while events.first_signal is None:
            events.wait([], None)
    return report


def _watch(context: Context, events: Events, registration: Registration) -> Report:
    from k6_sweep.watch.choose_detector import choose  # loads psutil, which other commands do not need

    settings, log = context.settings, context.log
    check_namespace(settings.allowed_namespace, context.pod.namespace)
    check_breadth(settings)
    detector = choose(settings, context.pod, lambda: _why_not_readable(context))
    if settings.preserve_existing is not None:  # fail now, not after a long test
        from k6_sweep.sweep.read_snapshot import usable_snapshot  # costs 6 MiB during the wait

        usable_snapshot(settings, context.pod.uid)
        # Of this test, so it may become old while k6 runs.
        context = replace(context, settings=replace(settings, snapshot_max_age=float("inf")))
    board = Board(context)
    wait = DETECTORS[detector](context, events, board)
    board.tell()
    log.info(LogEvent.WAITING_FOR_K6, detector=detector)

    def on_answer(answer: Any) -> None:
        if registration.on:
            registration.note(answer and answer["register"])
        _on_preflight(context, board, answer and answer["problems"])

    with background(events, lambda: _preflight(settings, registration), on_answer) as wait_for_answer:
        k6, budget = wait()
        if registration.on:
            wait_for_answer(LAST_ANSWER)
    registration.end()
    return _after(context, events, budget, k6, registration)


def _after(context: Context, events: Events, budget: Budget, k6: K6Outcome, registration: Registration) -> Report:
    """Act on k6's end and return the report: of the sweep, or of the reason why there is none."""
    settings = context.settings
    if not k6.seen:
        return Report(Status.UNSEEN, dry_run=settings.dry_run, k6=k6, errors=(_why_unseen(settings, events, k6),))
    if k6.broken_off:
        stopped = f"{events.signalled_by} stopped the wait before k6 ended; nothing was swept"
        stopped += f" ({k6.why})" if k6.why else ""
        return Report(Status.INCOMPLETE, dry_run=settings.dry_run, k6=k6, errors=(stopped,))
    if settings.when != "always":
        k6 = _ask_for_the_code(context, events, budget, k6)
        if report := _against(settings, k6):
            return report
    if registration.on and not settings.dry_run:
        from k6_sweep.commands.turn import sweep_in_turn  # loads redis

        report = sweep_in_turn(context, events, budget, k6, registration)
    else:
        report = sweep_in_time(context, events, budget, k6)
    context.tell(report)  # now: SIGKILL may come before the API server answers
    note_use(settings, context.log, report)
    return replace(report, k6=_ask_for_the_code(context, events, budget, k6))


def _why_unseen(settings: Settings, events: Events, k6: K6Outcome) -> str:
    if k6.ended:
        why = "k6 was over before it was seen, or never ran"
    elif events.first_signal is not None:
        why = f"{events.signalled_by} stopped the wait before k6 appeared"
    else:
        why = f"k6 did not appear within {settings.start_timeout:g} s (--start-timeout)"
    if k6.detector == "process" and k6.why:
        return f"{k6.why}; nothing was deleted"
    if k6.detector == "process":
        return f"{why}; nothing was deleted; check that the process name is {settings.k6_process!r} (--k6-process)"
    return f"{why}; nothing was deleted" + (f"; {k6.why}" if k6.why else "")


def _against(settings: Settings, k6: K6Outcome) -> Report | None:
    """Return the report of a run that --when ends without a sweep; None if the sweep must run."""
    if k6.passed is None:
        unknown = f"k6's result is unknown, so --when {settings.when} cannot be decided; nothing was swept"
        return Report(Status.INCOMPLETE, dry_run=settings.dry_run, k6=k6, errors=(unknown,))
    if k6.passed == (settings.when == "success"):
        return None
    return Report(Status.SKIPPED, dry_run=settings.dry_run, k6=k6)


def _why_not_readable(context: Context) -> str | None:
    from k6_sweep.kube.read_own_pod import why_not_readable  # loads kubernetes

    return why_not_readable(context.pod, context.settings.k6_containers)


def _ask_for_the_code(context: Context, events: Events, budget: Budget, k6: K6Outcome) -> K6Outcome:
    """Return k6's outcome, with code and reason from the API if the kernel gave no code and the API is usable."""
    if k6.detector != "process" or not k6.ended or k6.exit_code is not None or not context.pod.account:
        return k6
    deadline = time.monotonic() + _STATUS_SECONDS
    while time.monotonic() < budget.sweep_until(deadline, events.first_signal) and not events.urgent:
        pod = own_pod_now(context)
        if pod is None:
            return k6
        if pod.exit_code is not None:
            return replace(k6, exit_code=pod.exit_code, api_reason=pod.reason)
        events.wait([], _QUICKLY / 2)
    return k6


def _on_preflight(context: Context, board: Board, answer: Any) -> None:
    """Log the problems that the preflight found, and show them in the termination message."""
    problems = ["the test of Redis ended without an answer"] if answer is None else answer
    # Only shown, not fatal: Redis may be reachable again when k6 has ended.
    for problem in problems:
        context.log.warning(LogEvent.PREFLIGHT_FAILED, problem=problem)
    board.tell("redis", tuple(problems))
    if not problems:
        context.log.info(LogEvent.PREFLIGHT_PASSED)


def _preflight(settings: Settings, registration: Registration) -> dict[str, Any]:
    from k6_sweep.cluster.connector import Connector  # loads redis
    from k6_sweep.sweep.preflight import problems

    # First: another test may be about to sweep.
    entered = registration.enter() if registration.on else None
    return {"register": entered, "problems": problems(settings, Connector(settings))}
