"""What a command works with, and how its failure is reported."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from k6_sweep.errors import SettingsError, SweepError
from k6_sweep.kube.own_pod import OwnPod
from k6_sweep.log import Log
from k6_sweep.report import Report
from k6_sweep.settings.all import Settings

_S_co = TypeVar("_S_co", bound=Settings, covariant=True)


@dataclass(frozen=True)
class ContextOf(Generic[_S_co]):
    """What a command works with that takes these settings."""

    settings: _S_co
    log: Log
    tell: Callable[[Report], None]
    """Puts a report into the termination message."""
    pod: OwnPod
    run: str = ""
    """The id that stands in each line of the log."""


Context = ContextOf[Settings]
"""What every command works with."""


def failure(error: SweepError) -> Report:
    """Return the report of a command that ended in an error."""
    problems = error.problems if isinstance(error, SettingsError) else (str(error),)
    return Report(error.status, errors=problems, code=error.exit_code)
