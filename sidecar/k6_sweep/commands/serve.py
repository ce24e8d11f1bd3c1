"""`k6-sweep serve`: sweeps when an HTTP request asks for it."""

import asyncio
import contextlib
import threading
import time
from typing import Final

from k6_sweep.api.app import make_app, make_probe_app
from k6_sweep.api.journal import Journal
from k6_sweep.api.listener import bind
from k6_sweep.api.lock import LOCKED_FOR
from k6_sweep.api.readiness import Readiness
from k6_sweep.api.server import Server, clients, log_libraries, probes
from k6_sweep.api.service import Service
from k6_sweep.api.sweeps import Sweeps
from k6_sweep.api.turned_away import InUseError
from k6_sweep.budget import ASSUMED_GRACE_PERIOD, Budget
from k6_sweep.cluster.connector import Connector
from k6_sweep.cluster.endpoint_keys import EndpointKeys
from k6_sweep.cluster.history import History
from k6_sweep.cluster.lock import SweepLock
from k6_sweep.commands.context import Context
from k6_sweep.commands.lookout import lookout_of, who
from k6_sweep.commands.progress import ProgressLines
from k6_sweep.commands.run import sweep_once
from k6_sweep.commands.used_snapshot import note_use
from k6_sweep.errors import RedisError
from k6_sweep.lifecycle import Events
from k6_sweep.log import Log, LogEvent
from k6_sweep.metrics import ServerMetrics
from k6_sweep.report import Report
from k6_sweep.settings.all import Settings
from k6_sweep.status import Status
from k6_sweep.sweep.guard import check_breadth, check_namespace
from k6_sweep.sweep.preflight import problems
from k6_sweep.sweep.result import OnProgress, Progress
from k6_sweep.sweep.time_limit import TimeLimit

_PROBE_PATIENCE: Final = 1.0
"""Seconds that Redis may take for each step of a readiness probe; the chart's probe waits 5 s for all steps."""


def serve(context: Context) -> Report:
    """Serve until a signal comes, then finish the running sweep within the grace period.

    Raises:
        SettingsError: The system refuses the address to listen on.
    """
    settings, log = context.settings, context.log
    check_namespace(settings.allowed_namespace, context.pod.namespace)
    check_breadth(settings)
    keys = EndpointKeys(settings, lambda seconds: Connector(settings, lambda: seconds))
    journal = Journal(History(keys), who(context.pod), log)
    metrics = ServerMetrics()

    def work(asked: Settings, log: Log, outer: TimeLimit, on_progress: OnProgress) -> Report:
        lines = ProgressLines(log)
        lookout = lookout_of(asked, context.pod, context.run, log)
        limit = TimeLimit(lambda: (*outer.ends(), *(lookout.ends() if lookout else ())))

        def take_in(progress: Progress) -> None:
            lines(progress)
            on_progress(progress)
            if lookout:
                lookout.tick()

        report = sweep_once(asked, context.pod, log, limit, take_in, neighbours=lookout)
        if lookout:
            report = lookout.settle(report)
        note_use(asked, log, report)
        return report

    def check_free(asked: Settings) -> None:
        lookout = lookout_of(asked, context.pod, context.run, log)
        if lookout and (others := lookout.peek()):
            raise InUseError(str(others[0]), any(each.covers(lookout.mine) for each in others))

    sweeps = Sweeps(settings, work, SweepLock(keys, log), log, journal, metrics.note_sweep, check_free)
    readiness = Readiness(settings, Connector(settings, lambda: _PROBE_PATIENCE))
    service = Service(settings, sweeps, journal, readiness, metrics)
    _stop_by_signal(settings, sweeps, context.signals())
    log_libraries()
    with contextlib.ExitStack() as ports:
        listening = ports.enter_context(bind(settings.listen, "--listen"))
        host, port = listening.getsockname()[:2]
        listeners = [clients(listening, make_app(service, log), settings, log)]
        probe_port = None
        if settings.probe_listen:
            probed = ports.enter_context(bind(settings.probe_listen, "--probe-listen"))
            listeners.append(probes(probed, make_probe_app(service, log), log))
            probe_port = probed.getsockname()[1]
        tls = settings.tls_cert_file is not None
        log.info(LogEvent.LISTENING, host=host, port=port, tls=tls, probe_port=probe_port)
        # Beside the server: without Redis, /healthz must still answer.
        threading.Thread(target=_start, args=(context, journal, metrics), daemon=True).start()
        asyncio.run(Server(listeners, lambda: sweeps.may_end).serve())
        sweeps.join()
    return Report(Status.STOPPED, totals=sweeps.totals)


def _stop_by_signal(settings: Settings, sweeps: Sweeps, events: Events) -> None:
    """Give the running sweep its share of the grace period after SIGTERM; none after SIGINT or a second signal."""
    budget = Budget(settings.timeout, grace_period=settings.grace_period or ASSUMED_GRACE_PERIOD)

    def stop() -> None:
        if events.first_signal is not None:
            sweeps.stop(events.urgent_signal or budget.sweep_until(float("inf"), events.first_signal))

    events.on_signal = stop
    stop()  # the signal may have come before


def _start(context: Context, journal: Journal, metrics: ServerMetrics) -> None:
    with contextlib.suppress(RedisError):  # if Redis does not answer, the next lines log it
        _show_earlier(journal, metrics)
    _try_redis(context)


def _show_earlier(journal: Journal, metrics: ServerMetrics) -> None:
    """Let the metrics show how the newest sweeps before this start ended: an alert about one must not end with it."""
    found = journal.of_here()
    if any(each.status is Status.SWEEPING for each in found):
        time.sleep(LOCKED_FOR + 1)  # if its replica was killed, perhaps this one, it has lost its lock by then
        found = journal.of_here()
    for each in found:
        if each.status is not Status.SWEEPING:
            metrics.note_earlier(Report(each.status, dry_run=each.dry_run), each.ended)


def _try_redis(context: Context) -> None:
    """Log at the start every problem that would make a sweep fail."""
    found = problems(context.settings, Connector(context.settings))
    for problem in found:
        context.log.warning(LogEvent.PREFLIGHT_FAILED, problem=problem)
    if not found:
        context.log.info(LogEvent.PREFLIGHT_PASSED)
