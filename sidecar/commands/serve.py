"""`k6-sweep serve`: sweeps when it is asked over HTTP."""

import signal
import threading
import time

from sidecar.budget import ASSUMED_GRACE_PERIOD, Budget
from sidecar.commands.context import Context
from sidecar.commands.run import sweep_once
from sidecar.errors import SettingsError
from sidecar.report import Report
from sidecar.sweep.guard import check_breadth, check_namespace


def serve(context: Context) -> Report:
    """Serve until a signal comes; then end the sweep that runs, within the grace period."""
    import asyncio  # noqa: PLC0415  # loads ssl, which no other command needs from here

    try:
        from sidecar.api.app import Service, make_app  # noqa: PLC0415  # needs the packages of the extra `api`
        from sidecar.api.audit import Audited  # noqa: PLC0415  # the same
        from sidecar.api.gate import Gate  # noqa: PLC0415  # the same
        from sidecar.api.readiness import Readiness  # noqa: PLC0415  # the same
        from sidecar.api.server import bind, make_server  # noqa: PLC0415  # the same
        from sidecar.api.sweeps import Sweeps  # noqa: PLC0415  # the same
        from sidecar.metrics import ServerMetrics  # noqa: PLC0415  # the same
        from sidecar.sweep.link import Connector  # noqa: PLC0415  # loads redis
        from sidecar.sweep.lock import SweepLock  # noqa: PLC0415  # the same
    except ModuleNotFoundError as error:
        raise SettingsError([f"{error.name} is missing; install k6-sweep with the extra [api]"]) from error
    settings, log = context.settings, context.log
    check_breadth(settings)
    check_namespace(settings.allowed_namespace, context.pod.namespace)
    budget = Budget(settings.timeout, grace_period=settings.grace_period or ASSUMED_GRACE_PERIOD)
    connect = Connector(settings)
    metrics = ServerMetrics()
    sweeps = Sweeps(
        settings,
        lambda *how: sweep_once(how[0], context.pod.namespace, *how[1:]),
        SweepLock(settings, connect),
        log,
        metrics.note_sweep,
    )

    def on_signal(number: int) -> None:
        now = time.monotonic()
        urgent = number == signal.SIGINT or sweeps.stopping
        sweeps.stop(now if urgent else budget.sweep_until(float("inf"), now))

    service = Service(settings, Gate(settings, log), sweeps, Readiness(settings, connect), metrics)
    app = Audited(make_app(service), log, metrics.note_request)
    patience = budget.sweep_until(float("inf"), 0.0)
    with bind(settings.listen) as listening:
        host, port = listening.getsockname()[:2]
        log.info("listening", host=host, port=port, tls=settings.tls_cert_file is not None)
        threading.Thread(target=_try_redis, args=(context,), daemon=True).start()
        asyncio.run(make_server(app, settings, patience, on_signal).serve([listening]))
    sweeps.join()
    return Report("stopped", deleted=sweeps.deleted, matched=sweeps.matched)


def _try_redis(context: Context) -> None:
    """Say at the start what a sweep will stumble over."""
    from sidecar.commands.preflight import problems_of  # noqa: PLC0415  # loads redis

    problems = problems_of(context.settings)
    for problem in problems:
        context.log.warning("a sweep would not do its work as it is", problem=problem)
    if not problems:
        context.log.info("the preflight found nothing wrong")
