"""Every setting of k6-sweep: its meaning, unit and default, read once and then frozen."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from k6_sweep.files.ours import is_metrics, is_report
from k6_sweep.settings.options import Role, TakenBy, flag, option
from k6_sweep.settings.serve import ServeSettings
from k6_sweep.settings.sweep import SweepSettings
from k6_sweep.settings.values import file_to_write, http_url, one_of, whole_number
from k6_sweep.settings.watch import WatchSettings

KUBELET_TERMINATION_LOG: Final = Path("/dev/termination-log")
SMALLEST_MESSAGE: Final = 512
"""Bytes that are always enough for status, totals and k6's end."""

_OUTPUT = "Output"


@dataclass(frozen=True, kw_only=True)
class Settings(ServeSettings, WatchSettings, SweepSettings):
    """All settings: those of the sweep, of the wait, of the endpoint and of the output."""

    termination_log: Path | None = option(
        _OUTPUT,
        TakenBy.IN_PLACE,
        "File for the termination message. It may hold a report of k6-sweep, but no other text.",
        role=Role.NEITHER,
        why="The kubelet reads the message from this file; elsewhere there is no such file.",
        parse=file_to_write(is_report),
        metavar="FILE",
        shown_default=f"{KUBELET_TERMINATION_LOG} if it exists",
    )
    message_limit: int = option(
        _OUTPUT,
        TakenBy.IN_PLACE,
        "Maximum size of the termination message, in bytes. Kubernetes keeps 4,096 per container and 12,288 per pod.",
        role=Role.NEITHER,
        why="In a pod of up to six containers, Kubernetes keeps this much of each.",
        parse=whole_number(SMALLEST_MESSAGE, 4096),
        metavar="BYTES",
        default=2048,
    )
    emit_event: bool = flag(
        _OUTPUT,
        TakenBy.ONE_SWEEP,
        "Report the result in an Event on k6-sweep's own pod, for `kubectl describe`. Needs permission to create "
        "events.",
        role=Role.NEITHER,
        why="It needs a Role, which a pod does not have by default.",
    )
    pushgateway_url: str | None = option(
        _OUTPUT,
        TakenBy.ONE_SWEEP,
        "Prometheus Pushgateway that gets the counts of the sweep, grouped by job (k6-sweep) and run. Needs "
        "k6-sweep[metrics].",
        role=Role.NEITHER,
        why="Only you know whether there is a Pushgateway, and where.",
        parse=http_url,
        metavar="URL",
    )
    metrics_file: Path | None = option(
        _OUTPUT,
        TakenBy.ONE_SWEEP_IN_PLACE,
        "File that gets the counts of the sweep, for node_exporter's textfile collector, which reads *.prom. It "
        "may hold metrics of k6-sweep, but no other text. Needs k6-sweep[metrics].",
        role=Role.NEITHER,
        why="It is of use only where node_exporter runs on the same machine.",
        parse=file_to_write(is_metrics),
        metavar="FILE",
    )
    failure_policy: str = option(
        _OUTPUT,
        TakenBy.ENDING,
        "fail: exit with the code of the result. ignore: exit 0 in place of 3 to 6, so that the Job does not fail; the "
        "report is unchanged.",
        role=Role.NEITHER,
        why="A script must notice a failure. inject and the chart set `ignore` where the Job would run the load test "
        "again.",
        parse=one_of("fail", "ignore"),
        metavar="POLICY",
        default="fail",
    )
    output: str | None = option(
        _OUTPUT,
        TakenBy.IN_PLACE,
        "Format of the report on standard output: text (a table) or json.",
        role=Role.NEITHER,
        why="People read terminals; programs that read pipes and files need fields.",
        parse=one_of("text", "json"),
        metavar="FORMAT",
        shown_default="text on a terminal, otherwise json",
    )
    log_format: str | None = option(
        _OUTPUT,
        TakenBy.IN_PLACE,
        "Format of the log on standard error: json or text.",
        role=Role.NEITHER,
        why="People read terminals; programs that collect logs need fields.",
        parse=one_of("json", "text"),
        metavar="FORMAT",
        shown_default="text on a terminal, otherwise json",
    )
    log_level: str = option(
        _OUTPUT,
        TakenBy.ALL,
        "Lowest level that is logged: debug, info, warning or error.",
        role=Role.NEITHER,
        why="It shows each step of a run, without the details of `debug`.",
        parse=one_of("debug", "info", "warning", "error"),
        metavar="LEVEL",
        default="info",
    )
