"""What a command works with, and how its failure is reported."""

from collections.abc import Callable
from dataclasses import dataclass

from k6_sweep.errors import SettingsError, SweepError
from k6_sweep.kube.own_pod import OwnPod
from k6_sweep.log import Log
from k6_sweep.report import Report
from k6_sweep.settings.all import Settings


@dataclass(frozen=True)
class Context:
    """What a command works with."""

    settings: Settings
    log: Log
    tell: Callable[[Report], None]
    """Puts a report into the termination message."""
    pod: OwnPod
    run: str = ""
    """The id that stands in each line of the log."""


def failure(error: SweepError) -> Report:
    """Return the report of a command that ended in an error."""
    problems = error.problems if isinstance(error, SettingsError) else (str(error),)
    return Report(error.status, errors=problems, code=error.exit_code)
