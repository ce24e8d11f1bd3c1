"""Writes reports to the termination message while a command runs."""

import time

from k6_sweep.files.message import TerminationMessage
from k6_sweep.log import Log, LogEvent
from k6_sweep.report import Report
from k6_sweep.settings.all import Settings
from k6_sweep.status import Status


class Teller:
    """Writes reports to the termination message; a failure to do so is logged once and is not fatal."""

    def __init__(self, settings: Settings, log: Log) -> None:
        self._message = TerminationMessage(settings.termination_log) if settings.termination_log else None
        self._limit = settings.message_limit
        self._log = log
        self.last: Report | None = None
        self.began = time.monotonic()
        """When the sweep began; before that, when the command began."""

    def __call__(self, report: Report) -> None:
        """Replace the message."""
        if report.status is Status.SWEEPING and (self.last is None or self.last.status is not Status.SWEEPING):
            self.began = time.monotonic()
        self.last = report
        try:
            if self._message:
                self._message.write(report.message(self._limit))
        except OSError as error:
            self._message = None
            self._log.warning(LogEvent.MESSAGE_NOT_WRITTEN, problem=str(error))
