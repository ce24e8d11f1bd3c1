"""The commands `run`, `check`, `snapshot` and `watch`: each wires the steps of the one road and returns its report."""

import dataclasses
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sidecar.errors import RedisError, RefusedError, SettingsError, SweepError
from sidecar.lifecycle import Events, sweep_until
from sidecar.log import Log
from sidecar.report import Report
from sidecar.settings import Settings
from sidecar.sweep.guard import check_breadth, check_namespace
from sidecar.sweep.result import Progress
from sidecar.watch.outcome import K6Outcome

_MESSAGE_EVERY: Final = 1.0
_LOG_EVERY: Final = 5.0


@dataclass(frozen=True)
class Context:
    """What a command works with."""

    settings: Settings
    log: Log
    tell: Callable[[Report], None]
    """Puts a report into the termination message."""
    in_pod: bool
    """Whether this is a Kubernetes pod."""
    pod_uid: str | None
    """The pod's uid, where it is known."""
    namespace: str | None
    """The pod's namespace, where it is known."""


def run(context: Context) -> Report:
    """Sweep now, once."""
    with Events() as events:
        return _sweep(context, events, None)


def check(context: Context) -> Report:
    """Try everything that a sweep needs, and delete nothing."""
    from sidecar.sweep.link import Connector  # noqa: PLC0415  # loads redis
    from sidecar.sweep.preflight import preflight  # noqa: PLC0415  # the same

    check_namespace(context.settings.allowed_namespace, context.namespace)
    readiness = preflight(context.settings, Connector(context.settings))
    context.log.info("a sweep could do its work", primaries=list(readiness.primaries))
    for warning in readiness.warnings:
        context.log.warning(warning)
    return Report("ready", errors=readiness.warnings)


def snapshot(context: Context) -> Report:
    """Note down, before the test, which keys exist already."""
    from sidecar.sweep.link import Connector  # noqa: PLC0415  # loads redis
    from sidecar.sweep.sweeper import take_snapshot  # noqa: PLC0415  # the same

    settings, out = context.settings, context.settings.out
    check_namespace(settings.allowed_namespace, context.namespace)
    if out.exists():
        return _kept(context)
    deadline = time.monotonic() + settings.timeout
    with Events() as events:

        def remaining() -> float:
            return deadline - time.monotonic() if events.first_signal is None else 0.0

        taken, report = take_snapshot(
            settings, Connector(settings, remaining), remaining, context.log, _ProgressLines(context.log)
        )
        if events.first_signal is not None:
            return Report(
                "incomplete", sweep=report, errors=("a signal came before the snapshot was done; none was written",)
            )
    try:
        dataclasses.replace(taken, pod=context.pod_uid).write(out)
    except OSError as error:
        raise SettingsError([f"--out cannot be written: {error}"]) from error
    context.log.info("a snapshot was taken", keys=taken.size, file=str(out))
    return Report(report.status.value, sweep=report)


def _kept(context: Context) -> Report:
    """Return the report of a file that exists: an init container that runs again must not note down the test's keys."""
    from sidecar.sweep.snapshot import read_snapshot  # noqa: PLC0415  # not needed where there is none

    out = context.settings.out
    found = read_snapshot(out)
    if found.pod is None or found.pod != context.pod_uid:
        raise RefusedError(f"{out} exists: {found}; remove it if a new one is wanted")
    found.check_patterns(context.settings.pattern, out)
    context.log.warning("the file exists, and is kept", snapshot=str(found))
    return Report("incomplete" if found.unproven else "complete", errors=(f"kept {found}",))


def watch(context: Context) -> Report:
    """Wait for the end of k6, then sweep."""
    with Events() as events:
        try:
            report = _watch(context, events)
        except SweepError as error:
            report = failure(error)
        if context.settings.native and events.first_signal is None:
            # The kubelet restarts a native sidecar that exits early, and that would be a second sweep.
            context.tell(report)
            context.log.info("done; waiting for SIGTERM, as a native sidecar does", status=report.status)
            while events.first_signal is None:
                events.wait([], None)
        return report


def failure(error: SweepError) -> Report:
    """Return the report of a command that ended in an error."""
    problems = error.problems if isinstance(error, SettingsError) else (str(error),)
    return Report(error.status, errors=problems, code=error.exit_code)


def _watch(context: Context, events: Events) -> Report:
    from sidecar.watch.find import check_namespace_of_processes  # noqa: PLC0415  # loads psutil
    from sidecar.watch.pidfd import kernel_tells_exit_codes  # noqa: PLC0415  # the same
    from sidecar.watch.process import ProcessWatch  # noqa: PLC0415  # the same

    settings, log = context.settings, context.log
    check_breadth(settings)
    check_namespace(settings.allowed_namespace, context.namespace)
    check_namespace_of_processes(context.in_pod)
    if settings.preserve_existing is not None:  # said now, not after a long test
        from sidecar.sweep.snapshot import read_snapshot  # noqa: PLC0415  # weighs 6 MiB while waiting

        read_snapshot(settings.preserve_existing).check_patterns(settings.pattern, settings.preserve_existing)
    if settings.when != "always" and not kernel_tells_exit_codes():
        raise SettingsError(
            [f"--when {settings.when} needs k6's exit code, which this kernel doesn't tell (Linux 6.15 or newer does)"]
        )
    context.tell(Report("waiting", dry_run=settings.dry_run))
    log.info("waiting for k6", process=settings.k6_process)
    end_preflight = _preflight_aside(context, events)
    k6 = ProcessWatch(settings, events, log).run()
    end_preflight()
    if not k6.seen:
        why = (
            "a signal came before any k6 was seen"
            if events.first_signal is not None
            else f"no k6 was seen within {settings.start_timeout:g} s"
        )
        advice = f"nothing was deleted; was there a process named {settings.k6_process!r} that runs a test?"
        return Report("unseen", dry_run=settings.dry_run, k6=k6, errors=(f"{why}; {advice}",))
    if not k6.ended and events.urgent:
        stopped = "stopped by a signal before k6 had ended; nothing was swept"
        return Report("incomplete", dry_run=settings.dry_run, k6=k6, errors=(stopped,))
    return _against(settings, k6) or _sweep(context, events, k6)


def _against(settings: Settings, k6: K6Outcome) -> Report | None:
    """Return the report that --when ends in without a sweep; None where the sweep is wanted."""
    if settings.when == "always":
        return None
    if k6.exit_code is None:
        unknown = f"k6's exit code is unknown, so --when {settings.when} could not be judged; nothing was swept"
        return Report("incomplete", dry_run=settings.dry_run, k6=k6, errors=(unknown,))
    if (k6.exit_code == 0) == (settings.when == "success"):
        return None
    return Report("skipped", dry_run=settings.dry_run, k6=k6)


def _sweep(context: Context, events: Events, k6: K6Outcome | None) -> Report:
    """Sweep, within the time that --timeout and signals leave, telling how far it is."""
    from sidecar.sweep.link import Connector  # noqa: PLC0415  # loads redis, which waiting doesn't need
    from sidecar.sweep.sweeper import sweep  # noqa: PLC0415  # the same

    settings, log = context.settings, context.log
    deadline = time.monotonic() + settings.timeout
    next_message, lines = time.monotonic() + _MESSAGE_EVERY, _ProgressLines(log)

    def remaining() -> float:
        if events.urgent:
            return 0.0
        return sweep_until(deadline, events.first_signal, settings.grace_period) - time.monotonic()

    def on_progress(progress: Progress) -> None:
        nonlocal next_message
        lines(progress)
        if time.monotonic() >= next_message:
            next_message = time.monotonic() + _MESSAGE_EVERY
            context.tell(Report("sweeping", dry_run=settings.dry_run, progress=progress, k6=k6))

    check_namespace(settings.allowed_namespace, context.namespace)
    context.tell(Report("sweeping", dry_run=settings.dry_run, k6=k6))
    log.info("the sweep begins", dry_run=settings.dry_run)
    try:
        result = sweep(settings, Connector(settings, remaining), remaining, log, on_progress)
    except (RefusedError, RedisError) as error:
        return Report(error.status, dry_run=settings.dry_run, k6=k6, errors=(str(error),), code=error.exit_code)
    if k6 is None or k6.ended:
        return Report(result.status.value, dry_run=settings.dry_run, sweep=result, k6=k6)
    alive = "k6 had not ended when the time to wait for it was over; it may write more"
    return Report("incomplete", dry_run=settings.dry_run, sweep=result, k6=k6, errors=(alive,))


class _ProgressLines:
    """Logs a line now and then, of the progress that it is called with."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._next = time.monotonic() + _LOG_EVERY

    def __call__(self, progress: Progress) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _LOG_EVERY
        percent = round(100 * progress.slots_done / max(1, progress.slots_asked), 1)
        keys = {"deleted": progress.deleted, "matched": progress.matched}
        self._log.info("under way", percent=percent, pass_number=progress.pass_number, **keys)


def _preflight_aside(context: Context, events: Events) -> Callable[[], None]:
    """Try Redis in a process of its own, so that the wait stays light and is not held up; tell what is found.

    Returns:
        What ends it if it is not done when the wait is over: its news must not come after the sweep's.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        _run_preflight(context.settings, writer)
    os.close(writer)

    def on_result() -> None:
        with os.fdopen(reader, "rb") as pipe:
            answer = pipe.read()
        os.waitpid(child, 0)
        problems = json.loads(answer) if answer else ["the preflight ended without an answer"]
        for problem in problems:
            context.log.warning("a sweep would not do its work as it is", problem=problem)
        if problems:
            context.tell(Report("waiting", dry_run=context.settings.dry_run, errors=tuple(problems)))
        else:
            context.log.info("the preflight found nothing wrong")

    def end() -> None:
        if events.forget(reader):
            os.close(reader)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    events.on_readable(reader, on_result)
    return end


def _run_preflight(settings: Settings, writer: int) -> None:
    """Be the child: write a JSON list of problems in one piece, and end."""
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        from sidecar.sweep.link import Connector  # noqa: PLC0415  # loads redis
        from sidecar.sweep.preflight import preflight  # noqa: PLC0415  # the same

        try:
            problems = list(preflight(settings, Connector(settings)).warnings)
        except SweepError as error:
            problems = [str(error)]
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(json.dumps(problems).encode())
    finally:
        os._exit(0)
