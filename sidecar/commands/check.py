"""`k6-sweep check`: tries everything that a sweep needs."""

from sidecar.commands.context import Context
from sidecar.report import Report
from sidecar.sweep.guard import check_namespace


def check(context: Context) -> Report:
    """Try everything that a sweep needs, and delete nothing."""
    from sidecar.sweep.link import Connector  # noqa: PLC0415  # loads redis
    from sidecar.sweep.preflight import preflight  # noqa: PLC0415  # the same

    check_namespace(context.settings.allowed_namespace, context.pod.namespace)
    readiness = preflight(context.settings, Connector(context.settings))
    context.log.info("a sweep could do its work", primaries=list(readiness.primaries))
    for warning in readiness.warnings:
        context.log.warning(warning)
    return Report("ready", errors=readiness.warnings)
