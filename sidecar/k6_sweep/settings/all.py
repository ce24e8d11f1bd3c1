"""Every setting of k6-sweep: its meaning, unit and default, read once and then frozen."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from k6_sweep.settings.options import TakenBy, flag, option
from k6_sweep.settings.serve import ServeSettings
from k6_sweep.settings.sweep import SweepSettings
from k6_sweep.settings.values import http_url, one_of, whole_number
from k6_sweep.settings.watch import WatchSettings

KUBELET_TERMINATION_LOG: Final = Path("/dev/termination-log")
SMALLEST_MESSAGE: Final = 512
"""Bytes that are always enough for status, totals and k6's end."""

_OUTPUT = "What it tells"


@dataclass(frozen=True, kw_only=True)
class Settings(ServeSettings, WatchSettings, SweepSettings):
    """All settings: those of the sweep, of the wait, of the endpoint and of the output."""

    termination_log: Path | None = option(
        _OUTPUT,
        TakenBy.IN_PLACE,
        "The file for the termination message.",
        parse=Path,
        metavar="FILE",
        shown_default=f"{KUBELET_TERMINATION_LOG} where it exists",
    )
    message_limit: int = option(
        _OUTPUT,
        TakenBy.IN_PLACE,
        "The termination message's size in bytes. Kubernetes keeps 4,096 of a container and 12,288 of a pod.",
        parse=whole_number(SMALLEST_MESSAGE, 4096),
        metavar="BYTES",
        default=2048,
    )
    emit_event: bool = flag(
        _OUTPUT,
        TakenBy.ONE_SWEEP,
        "Tell the end in an Event on our own pod, for kubectl describe. Needs the permission to create events.",
    )
    pushgateway_url: str | None = option(
        _OUTPUT,
        TakenBy.ONE_SWEEP,
        "A Prometheus Pushgateway to send the counts of the sweep to, grouped by job (k6-sweep) and run. Needs "
        "k6-sweep[metrics].",
        parse=http_url,
        metavar="URL",
    )
    metrics_file: Path | None = option(
        _OUTPUT,
        TakenBy.ONE_SWEEP_IN_PLACE,
        "A file to write the same counts to, for node_exporter's textfile collector (it reads *.prom). Needs "
        "k6-sweep[metrics].",
        parse=Path,
        metavar="FILE",
    )
    failure_policy: str = option(
        _OUTPUT,
        TakenBy.ENDING,
        "fail: exit codes tell. ignore: exit 0 instead of 3 to 6, so that a Job doesn't fail; the message still tells.",
        parse=one_of("fail", "ignore"),
        metavar="POLICY",
        default="fail",
    )
    log_format: str | None = option(
        _OUTPUT,
        TakenBy.IN_PLACE,
        "How the log on standard error is written: json or text.",
        parse=one_of("json", "text"),
        metavar="FORMAT",
        shown_default="text on a terminal, else json",
    )
    log_level: str = option(
        _OUTPUT,
        TakenBy.ALL,
        "debug, info, warning or error.",
        parse=one_of("debug", "info", "warning", "error"),
        metavar="LEVEL",
        default="info",
    )
