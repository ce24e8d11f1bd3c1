"""The kinds of failure, each with its exit code.

    SweepError               1  k6-sweep itself has a fault (FaultError, if it ended a sweep)
    ├── SettingsError        2  a setting is missing, malformed, or contradicts another
    ├── RefusedError         4  a guard refused the sweep; nothing was deleted
    └── RedisError           5  Redis cannot be used
        ├── UnreachableError    no connection, or no answer
        └── DeniedError         login or permission refused; a retry does not help

An incomplete sweep (3) and a k6 that never appeared (6) are outcomes, not errors: see `k6_sweep.status`.
"""

from collections.abc import Sequence
from typing import ClassVar

from k6_sweep.status import BAD_SETTINGS, Status


class SweepError(Exception):
    """A failure; the message gives the problem, its place and the remedy."""

    status: ClassVar[Status] = Status.ERROR
    exit_code: ClassVar[int | None] = None
    """The exit code, if the status alone does not decide it."""


class SettingsError(SweepError):
    """One or more settings cannot be used; `problems` holds a sentence for each."""

    exit_code = BAD_SETTINGS

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class RefusedError(SweepError):
    """A guard refused the sweep before the first delete."""

    status = Status.REFUSED


class RedisError(SweepError):
    """Redis cannot be used in its present state."""

    status = Status.FAILED


class UnreachableError(RedisError):
    """Redis accepts no connection or gives no answer; this may be temporary."""


class DeniedError(RedisError):
    """Redis refused the login, TLS or a permission; only a change of the settings or of the ACL helps."""


def joined(failures: Sequence[RedisError]) -> RedisError:
    """Return one error for the failures of several servers: a denial if one of them is a denial."""
    denied = any(isinstance(failure, DeniedError) for failure in failures)
    return (DeniedError if denied else UnreachableError)("; ".join(map(str, failures)))
