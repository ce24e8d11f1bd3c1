"""The statuses of a run, each with its exit code, HTTP code and Event reason."""

from enum import StrEnum
from typing import Final, Self

BAD_SETTINGS: Final = 2
"""The exit code of an `error` in the settings; each other status has one exit code."""


class Status(StrEnum):
    """The status of a run, at its end or in progress: the word in reports, logs and metrics."""

    exit_code: int | None
    """None for a status of a run that has not ended."""
    http_code: int | None
    """The endpoint's answer to the request for the sweep; None if a sweep of the endpoint never has this status."""
    event_reason: str | None
    """The reason of the Event that `watch` and `run` create; None if neither of them ends with this status."""

    def __new__(
        cls, word: str, exit_code: int | None = None, http_code: int | None = None, event_reason: str | None = None
    ) -> Self:
        """Create a member from its word and its codes."""
        self = str.__new__(cls, word)
        self._value_ = word
        self.exit_code, self.http_code, self.event_reason = exit_code, http_code, event_reason
        return self

    WAITING = "waiting"
    SWEEPING = "sweeping"
    COMPLETE = "complete", 0, 200, "Swept"
    DRY_RUN = "dry-run", 0, 200, "SweepSkipped"
    SKIPPED = "skipped", 0, None, "SweepSkipped"
    HANDED_OVER = "handed-over", 0, None, "SweepHandedOver"
    READY = "ready", 0
    STOPPED = "stopped", 0
    ERROR = "error", 1, 500, "SweepIncomplete"
    INCOMPLETE = "incomplete", 3, 504, "SweepIncomplete"
    REFUSED = "refused", 4, 422, "SweepRefused"
    FAILED = "failed", 5, 503, "SweepIncomplete"
    UNSEEN = "unseen", 6, None, "SweepIncomplete"

    @property
    def is_failure(self) -> bool:
        """Whether the run has ended without success."""
        return bool(self.exit_code)

    @property
    def event_type(self) -> str:
        """The type of the Event."""
        return "Warning" if self.is_failure else "Normal"

    @property
    def is_forgivable(self) -> bool:
        """Whether the failure policy `ignore` turns the exit code into 0: never for a fault of k6-sweep itself."""
        return self.is_failure and self is not Status.ERROR
