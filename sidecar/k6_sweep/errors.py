"""The ways to fail, each with the exit code that it ends in.

    SweepError               1  something in k6-sweep itself is wrong
    ├── SettingsError        2  a setting is missing, malformed, or contradicts another
    ├── RefusedError         4  a guard said no; nothing was deleted
    └── RedisError           5  Redis cannot be used
        ├── UnreachableError    no connection, or no answer
        └── DeniedError         login or permission refused; asking again doesn't help

An incomplete sweep (3) and a k6 that never came (6) are outcomes, not errors: see `k6_sweep.status`.
"""

from collections.abc import Sequence
from typing import ClassVar

from k6_sweep.status import BAD_SETTINGS, Status


class SweepError(Exception):
    """Something went wrong; the message says what, where, and what to do about it."""

    status: ClassVar[Status] = Status.ERROR
    exit_code: ClassVar[int | None] = None
    """The exit code where the status alone does not decide it."""


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
    """Redis cannot be used as it is."""

    status = Status.FAILED


class UnreachableError(RedisError):
    """No connection or no answer; it may come back."""


class DeniedError(RedisError):
    """Login, TLS or a permission was refused; only a change of settings or of the ACL helps."""
