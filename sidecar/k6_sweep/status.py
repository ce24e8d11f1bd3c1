"""The ways for a run to end, and how each one shows outside."""

from enum import StrEnum
from typing import Final, Self

BAD_SETTINGS: Final = 2
"""The exit code of an `error` that the settings are to blame for; each other status has one exit code."""


class Status(StrEnum):
    """How a run has ended, or what it is doing: the word that stands in reports, logs and metrics."""

    exit_code: int | None
    """None while the run goes on."""
    http_code: int | None
    """What the endpoint answers to the request that asked for the sweep; None where no such sweep ends like this."""
    event_reason: str | None
    """The reason of the Event that `watch` and `run` create; None where neither of them ends like this."""

    def __new__(
        cls, word: str, exit_code: int | None = None, http_code: int | None = None, event_reason: str | None = None
    ) -> Self:
        """Make a member of the word and what it stands for."""
        self = str.__new__(cls, word)
        self._value_ = word
        self.exit_code, self.http_code, self.event_reason = exit_code, http_code, event_reason
        return self

    WAITING = "waiting"
    SWEEPING = "sweeping"
    COMPLETE = "complete", 0, 200, "Swept"
    DRY_RUN = "dry-run", 0, 200, "SweepSkipped"
    SKIPPED = "skipped", 0, None, "SweepSkipped"
    READY = "ready", 0
    STOPPED = "stopped", 0
    ERROR = "error", 1, 500, "SweepIncomplete"
    INCOMPLETE = "incomplete", 3, 504, "SweepIncomplete"
    REFUSED = "refused", 4, 422, "SweepRefused"
    FAILED = "failed", 5, 503, "SweepIncomplete"
    UNSEEN = "unseen", 6, None, "SweepIncomplete"

    @property
    def is_failure(self) -> bool:
        """Whether the run has ended, and without success."""
        return bool(self.exit_code)

    @property
    def event_type(self) -> str:
        """The type of that Event."""
        return "Warning" if self.is_failure else "Normal"

    @property
    def is_forgivable(self) -> bool:
        """Whether the failure policy `ignore` turns the exit code into 0: a fault of ours never passes for success."""
        return self.is_failure and self is not Status.ERROR
