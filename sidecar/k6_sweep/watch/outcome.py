"""The outcome of k6: whether it ran, whether it ended, and how."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

_SIGNAL_BASE: Final = 128
_LAST_SIGNAL: Final = 64

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
    126: "not executable",
    127: "command not found",
    137: "killed (often out of memory)",
    143: "terminated",
    255: "error without a code",
}
"""The meanings of k6's exit codes, and below 200 those of the shell.

k6 exits with -1, which Linux shows as 255, after an error without a code.

Source: https://pkg.go.dev/go.k6.io/k6/errext/exitcodes, https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html
"""


_VAGUE: Final = frozenset({"Error", "Completed"})
"""Reasons of the API that add nothing to the exit code."""


@dataclass(frozen=True)
class K6Outcome:
    """Whether k6 ran, whether it has ended, and how."""

    seen: bool
    ended: bool
    detector: str = "process"
    exit_code: int | None = None
    """The exit code of the k6 container, which the Job sees; None if it cannot be known."""
    ended_at: datetime | None = None
    api_reason: str | None = None
    """Why k6 ended, as the Kubernetes API reports it: OOMKilled, Evicted…"""
    controller_passed: bool | None = None
    """Whether its Job or TestRun reports success; None if it reports nothing."""
    broken_off: bool = False
    """Whether the wait was stopped early, so that nothing may be swept."""
    why: str | None = None
    """What is known of a k6 that was not seen or has not ended."""

    @property
    def passed(self) -> bool | None:
        """Whether the test passed; None if it is not known."""
        if self.controller_passed is not None or self.exit_code is None:
            return self.controller_passed
        return self.exit_code == 0

    @property
    def reason(self) -> str | None:
        """Why k6 ended, in words; None if the reason is not known."""
        if self.api_reason and self.api_reason not in _VAGUE:
            return self.api_reason
        if self.exit_code is None:
            return None
        if self.exit_code in EXIT_REASONS:
            return EXIT_REASONS[self.exit_code]
        if _SIGNAL_BASE < self.exit_code <= _SIGNAL_BASE + _LAST_SIGNAL:
            return f"ended by signal {self.exit_code - _SIGNAL_BASE}"
        return f"exit code {self.exit_code}"
