"""What became of k6."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

_SIGNAL_BASE: Final = 128

EXIT_REASONS: Final = {
    0: "passed",
    97: "cloud run failed",
    98: "cloud progress unknown",
    99: "thresholds failed",
    100: "setup timed out",
    101: "teardown timed out",
    102: "timed out",
    103: "stopped by the REST API",
    104: "bad configuration",
    105: "aborted by a signal",
    106: "REST API could not start",
    107: "script exception",
    108: "test.abort()",
    109: "k6 panicked",
    110: "marked as failed",
    137: "killed (often out of memory)",
    143: "terminated",
}
"""k6's exit codes in words.

Source: https://pkg.go.dev/go.k6.io/k6/errext/exitcodes
"""


_VAGUE: Final = frozenset({"Error", "Completed"})
"""Reasons of the API that say no more than the exit code does."""


@dataclass(frozen=True)
class K6Outcome:
    """Whether k6 ran, whether it has ended, and how."""

    seen: bool
    ended: bool
    detector: str = "process"
    exit_code: int | None = None
    """The code of the k6 container, which the Job sees; None where it cannot be known."""
    ended_at: datetime | None = None
    api_reason: str | None = None
    """Why it ended, as the Kubernetes API has it: OOMKilled, Evicted…"""
    controller_passed: bool | None = None
    """Whether it passed by the word of what made its pods, a Job or a TestRun; None where that says nothing."""
    broken_off: bool = False
    """Whether the wait was broken off, so that nothing may be swept."""
    why: str | None = None
    """What is known of a k6 that was not seen, or had not ended."""

    @property
    def passed(self) -> bool | None:
        """Whether the test passed; None where nothing tells."""
        if self.controller_passed is not None or self.exit_code is None:
            return self.controller_passed
        return self.exit_code == 0

    @property
    def reason(self) -> str | None:
        """Why it ended, in words; None for an unknown reason."""
        if self.api_reason and self.api_reason not in _VAGUE:
            return self.api_reason
        if self.exit_code is None:
            return None
        if self.exit_code in EXIT_REASONS:
            return EXIT_REASONS[self.exit_code]
        if self.exit_code > _SIGNAL_BASE:
            return f"ended by signal {self.exit_code - _SIGNAL_BASE}"
        return f"exit code {self.exit_code}"
