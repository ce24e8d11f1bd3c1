"""Publishes the end of a run: termination message, Event, metrics."""

from dataclasses import replace
from typing import Final

from k6_sweep.commands.context import Context
from k6_sweep.commands.event import emit_event
from k6_sweep.log import LogEvent
from k6_sweep.report import Report

_LIMIT: Final = 1.0
"""Seconds that a Pushgateway may take: the kubelet may send SIGKILL soon."""


def announce(context: Context, report: Report) -> None:
    """Publish the report; a failure to do so is logged and is not fatal."""
    # First, because SIGKILL may come while the API server or a Pushgateway answers.
    context.tell(report)
    emit_event(context, report)
    settings, pod = context.settings, context.pod
    if not settings.pushgateway_url and not settings.metrics_file:
        return
    from http.client import HTTPException  # only this function needs it

    from k6_sweep import metrics  # needs the package of the extra `metrics`

    report = replace(report, dry_run=settings.dry_run)  # a refusal before the sweep does not know it

    if settings.metrics_file:
        try:
            metrics.write(report, settings.metrics_file)
        except OSError as error:
            context.log.warning(LogEvent.METRICS_NOT_WRITTEN, file=str(settings.metrics_file), problem=str(error))
    if settings.pushgateway_url:
        known = {"run": context.run, "namespace": pod.namespace, "pod": pod.name}
        grouping = {name: value for name, value in known.items() if value}
        try:
            metrics.push(report, settings.pushgateway_url, grouping, _LIMIT)
        except (OSError, HTTPException, ValueError) as error:  # the last two: an answer that is not HTTP, a bad URL
            url = settings.pushgateway_url.partition("?")[0]  # a query may contain a token
            context.log.warning(LogEvent.METRICS_NOT_PUSHED, url=url, problem=str(error))
