"""`k6-sweep check`: tests everything that a sweep needs."""

import time

from k6_sweep.cluster.connector import Connector
from k6_sweep.commands.context import Context
from k6_sweep.commands.lookout import register_of
from k6_sweep.coordination import Entry
from k6_sweep.errors import RedisError
from k6_sweep.log import LogEvent
from k6_sweep.report import Report
from k6_sweep.status import Status
from k6_sweep.sweep.guard import check_namespace
from k6_sweep.sweep.in_time import in_time
from k6_sweep.sweep.preflight import preflight


def check(context: Context) -> Report:
    """Test everything that a sweep needs, and delete nothing."""
    check_namespace(context.settings.allowed_namespace, context.pod.namespace)
    end = time.monotonic() + context.settings.timeout

    def remaining() -> float:
        return end - time.monotonic()

    connect = Connector(context.settings, remaining)
    readiness = in_time(lambda: preflight(context.settings, connect, look=True), remaining)
    registered, problems = in_time(lambda: _register(context), remaining)
    context.log.info(LogEvent.CHECK_PASSED, primaries=list(readiness.primaries))
    return Report(Status.READY, warnings=readiness.warnings + problems, tests=registered)


def _register(context: Context) -> tuple[tuple[Entry, ...] | None, tuple[str, ...]]:
    """Return the tests in the register, if it is used; and what a sweep would warn of.

    Raises:
        RedisError: The register cannot be used, and --coordinate requires it.
    """
    mode = context.settings.coordinate
    if mode == "off":
        return None, ()
    register = register_of(context.settings)
    try:
        register.try_out()
        return tuple(register.read()), ()
    except RedisError as error:
        if mode == "require":
            raise
        return None, (f"{error}; without the register of tests, a sweep may delete keys of another running test",)
