"""Creates an Event on k6-sweep's own pod, so that `kubectl describe` shows how the run ended."""

from datetime import UTC, datetime
from typing import Final

from k6_sweep.commands.context import Context
from k6_sweep.log import LogEvent
from k6_sweep.report import Report

_LIMIT: Final = 1.0
"""Seconds that each request to the API server may take: the kubelet may send SIGKILL soon."""
_LONGEST: Final = 1000
"""Characters of a message; the API accepts 1,024 bytes."""


def emit_event(context: Context, report: Report) -> None:
    """Create the Event, if --emit-event is set; a failure to do so is logged and is not fatal."""
    status = report.status
    if not context.settings.emit_event or status.event_reason is None:
        return
    from k6_sweep.kube.api import ApiError, ApiServer  # loads kubernetes
    from k6_sweep.kube.login import ByAccount
    from k6_sweep.kube.roles import EVENTS

    pod = context.pod
    if not pod.account or not pod.name or not pod.namespace:
        problem = "not in a pod, or its service account or name is unknown"
        context.log.warning(LogEvent.EVENT_NOT_CREATED, problem=problem)
        return
    now = datetime.now(UTC)
    body = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{pod.name}.", "namespace": pod.namespace},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": pod.name,
            "namespace": pod.namespace,
            "uid": pod.uid,
        },
        "type": "Warning" if report.all_warnings else status.event_type,
        "reason": status.event_reason,
        "message": sentence(report),
        "source": {"component": "k6-sweep"},
        "reportingComponent": "k6-sweep",
        "reportingInstance": pod.name,
        "count": 1,
        "firstTimestamp": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lastTimestamp": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    try:
        ApiServer(ByAccount(pod.account), pod.namespace, _LIMIT).create(EVENTS, body)
    except ApiError as error:
        context.log.warning(LogEvent.EVENT_NOT_CREATED, problem=str(error))


def sentence(report: Report) -> str:
    """Return the report as one readable line, without patterns and keys."""
    counts = report.counts
    keys = f"{counts.matched} keys match" if report.dry_run else f"{counts.deleted} keys deleted"
    parts = [f"{report.status}: {keys}"]
    parts += [f"{counts.remaining} remaining"] if counts.remaining is not None else []
    parts += [f"{counts.slots} slots"] if counts.slots else []
    if report.k6 and report.k6.exit_code is not None:
        parts.append(f"k6 ended with {report.k6.exit_code} ({report.k6.reason})")
    parts += [f"the last one out sweeps: {report.handed_over_to}"] if report.handed_over_to else []
    parts += [*report.problems, *report.all_warnings][:1]
    # ASCII, so that a number of characters is the same number of bytes.
    return "; ".join(parts).encode("ascii", "replace").decode()[:_LONGEST]
