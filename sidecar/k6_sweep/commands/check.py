"""`k6-sweep check`: tests everything that a sweep needs."""

from k6_sweep.cluster.connector import Connector
from k6_sweep.commands.context import Context
from k6_sweep.log import LogEvent
from k6_sweep.report import Report
from k6_sweep.status import Status
from k6_sweep.sweep.guard import check_namespace
from k6_sweep.sweep.preflight import preflight


def check(context: Context) -> Report:
    """Test everything that a sweep needs, and delete nothing."""
    check_namespace(context.settings.allowed_namespace, context.pod.namespace)
    readiness = preflight(context.settings, Connector(context.settings), look=True)
    context.log.info(LogEvent.CHECK_PASSED, primaries=list(readiness.primaries))
    return Report(Status.READY, warnings=readiness.warnings)
