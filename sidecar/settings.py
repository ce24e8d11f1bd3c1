"""Every setting of k6-sweep: its meaning, unit and default, read once and then frozen."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sidecar.options import option
from sidecar.sweep_settings import HANDED_ON, IN_PLACE, SweepSettings
from sidecar.values import one_of, whole_number
from sidecar.watch_settings import WatchSettings

KUBELET_TERMINATION_LOG: Final = Path("/dev/termination-log")
SMALLEST_MESSAGE: Final = 512
"""Bytes that status, totals and k6's end always fit in."""

_OUTPUT = "What it tells"


@dataclass(frozen=True, kw_only=True)
class Settings(WatchSettings, SweepSettings):
    """All settings: those of the sweep, those of the wait, and what is told of both."""

    termination_log: Path | None = option(
        _OUTPUT,
        "The file for the termination message.",
        parse=Path,
        metavar="FILE",
        default=None,
        commands=IN_PLACE,
        shown_default=f"{KUBELET_TERMINATION_LOG} where it exists",
    )
    message_limit: int = option(
        _OUTPUT,
        "The termination message's size in bytes. Kubernetes keeps 4,096 of a container and 12,288 of a pod.",
        parse=whole_number(SMALLEST_MESSAGE, 4096),
        metavar="BYTES",
        default=2048,
        commands=IN_PLACE,
    )
    emit_event: bool = option(
        _OUTPUT,
        "Tell the end in an Event on our own pod, for kubectl describe. Needs the permission to create events.",
        flag=True,
        default=False,
        commands=HANDED_ON,
    )
    failure_policy: str = option(
        _OUTPUT,
        "fail: exit codes tell. ignore: exit 0 instead of 3 to 6, so that a Job doesn't fail; the message still tells.",
        parse=one_of("fail", "ignore"),
        metavar="POLICY",
        default="fail",
        commands=IN_PLACE,
    )
    log_format: str | None = option(
        _OUTPUT,
        "How the log on standard error is written: json or text.",
        parse=one_of("json", "text"),
        metavar="FORMAT",
        default=None,
        commands=IN_PLACE,
        shown_default="text on a terminal, else json",
    )
    log_level: str = option(
        _OUTPUT,
        "debug, info, warning or error.",
        parse=one_of("debug", "info", "warning", "error"),
        metavar="LEVEL",
        default="info",
    )
