"""The context of a command, and the report of its failure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from k6_sweep.errors import RedisError, SettingsError, SweepError
from k6_sweep.kube.own_pod import OwnPod
from k6_sweep.lifecycle import Events
from k6_sweep.log import Log
from k6_sweep.report import Report
from k6_sweep.settings.all import Settings
from k6_sweep.sweep.time_limit import TimeLimit

_S_co = TypeVar("_S_co", bound=Settings, covariant=True)


@dataclass(frozen=True)
class ContextOf(Generic[_S_co]):
    """The context of a command with settings of this type."""

    settings: _S_co
    log: Log
    tell: Callable[[Report], None]
    """Writes a report to the termination message."""
    pod: OwnPod
    signals: Callable[[], Events]
    """Handles signals from now on, until the report is written; returns them."""
    run: str = ""
    """The id in each line of the log."""


Context = ContextOf[Settings]
"""The context of every command; `snapshot` has settings of its own."""


def failure(error: SweepError, limit: TimeLimit | None = None) -> Report:
    """Return the report of a command that failed with this error, perhaps because its time was over."""
    problems = error.problems if isinstance(error, SettingsError) else (str(error),)
    if limit and isinstance(error, RedisError) and limit.remaining() <= 0:
        problems += (limit.reason(),)
    return Report(error.status, errors=problems, code=error.exit_code)
