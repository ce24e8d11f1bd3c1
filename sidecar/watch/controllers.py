"""What a Job or a TestRun says of its k6 pods: whether it is over, and whether more of them will come."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self

from sidecar.watch.pods import K6Pod, dig

_BACKOFF_LIMIT: Final = 6
"""The Job's own default."""
_DECIDED: Final = frozenset({"Complete", "Failed", "SuccessCriteriaMet", "FailureTarget"})
"""Conditions after which a Job starts no more pods."""
_FINAL_STAGES: Final = frozenset({"finished", "stopped", "error"})
_RUNNING_STAGES: Final = frozenset({"started", "stopped", "finished"})


class Controller(Protocol):
    """What makes k6's pods."""

    @property
    def over(self) -> bool:
        """Whether it says of itself that it has ended."""

    @property
    def failed(self) -> bool:
        """Whether it says that it has ended badly."""

    @property
    def reason(self) -> str | None:
        """Why, in its own words."""

    @property
    def ran(self) -> bool:
        """Whether it says that k6 runs, or has run."""

    @property
    def complete(self) -> bool:
        """Whether it says that all went well, failures on the way included."""

    def expects_more(self, ended: Iterable[K6Pod]) -> bool:
        """Whether pods may still come, after all that came have ended, each in its way."""


@dataclass(frozen=True)
class Job:
    """A Job, as the API has it.

    Source: https://kubernetes.io/docs/concepts/workloads/controllers/job/
    """

    conditions: Mapping[str, str]
    """The conditions that are true, with their reasons."""
    suspended: bool
    completions: int | None
    """None: one success is enough, and after it nothing new is started."""
    parallelism: int
    backoff_limit: int | None
    """None: whether a failure is the last is judged in another way, which we don't follow."""
    succeeded: int
    failures: int

    @classmethod
    def read(cls, raw: object) -> Self:
        """Read a Job of the API."""
        spec, status = dig(raw, "spec"), dig(raw, "status")
        own_way = dig(spec, "podFailurePolicy") or dig(spec, "backoffLimitPerIndex") is not None
        return cls(
            conditions=_true_conditions(raw),
            suspended=dig(spec, "suspend") is True,
            completions=_count(spec, "completions"),
            parallelism=_count(spec, "parallelism", 1) or 0,
            backoff_limit=None if own_way else _count(spec, "backoffLimit", _BACKOFF_LIMIT),
            succeeded=_count(status, "succeeded", 0) or 0,
            failures=_count(status, "failed", 0) or 0,
        )

    @property
    def over(self) -> bool:
        """Whether it is Complete or Failed."""
        return bool(self.conditions.keys() & {"Complete", "Failed"})

    @property
    def failed(self) -> bool:
        """Whether it is Failed."""
        return "Failed" in self.conditions

    @property
    def reason(self) -> str | None:
        """Why it has Failed."""
        return self.conditions.get("Failed")

    @property
    def ran(self) -> bool:
        """Whether a pod of it has succeeded: of a failed one nobody knows whether k6 ever ran in it."""
        return self.succeeded > 0

    @property
    def complete(self) -> bool:
        """Whether it is Complete."""
        return "Complete" in self.conditions

    def expects_more(self, ended: Iterable[K6Pod]) -> bool:
        """Whether pods are still to come; in doubt, yes."""
        if self.conditions.keys() & _DECIDED:
            return False
        if self.suspended or not self.parallelism:
            return True
        good = [pod.exit_code == 0 and not pod.failed for pod in ended]
        succeeded = max(self.succeeded, good.count(True))
        failures = max(self.failures, good.count(False))
        if succeeded >= (1 if self.completions is None else self.completions):
            return False
        return self.backoff_limit is None or failures <= self.backoff_limit


@dataclass(frozen=True)
class TestRun:
    """A TestRun of k6-operator.

    Source: https://grafana.com/docs/k6/latest/set-up/set-up-distributed-k6/ and the operator's status.stage.
    """

    stage: str
    running: bool
    """Whether its condition TestRunRunning holds."""

    @classmethod
    def read(cls, raw: object) -> Self:
        """Read a TestRun of the API."""
        return cls(str(dig(raw, "status", "stage") or ""), "TestRunRunning" in _true_conditions(raw))

    @property
    def over(self) -> bool:
        """Whether its stage is final."""
        return self.stage in _FINAL_STAGES

    @property
    def failed(self) -> bool:
        """Whether it ended otherwise than by finishing: `stopped` turns into `finished` where all went well."""
        return self.stage == "error"

    @property
    def reason(self) -> str | None:
        """Nothing beyond the stage."""
        return f"TestRun in stage {self.stage}" if self.failed else None

    @property
    def ran(self) -> bool:
        """Whether its runners have been started."""
        return self.stage in _RUNNING_STAGES or self.running

    @property
    def complete(self) -> bool:
        """Whether all went well, which it doesn't say: `finished` are failed runners, too."""
        return False

    def expects_more(self, ended: Iterable[K6Pod]) -> bool:  # noqa: ARG002  # the stage knows
        """Whether it is not over."""
        return not self.over


def _true_conditions(raw: object) -> dict[str, str]:
    conditions = dig(raw, "status", "conditions")
    return {
        str(dig(each, "type")): str(dig(each, "reason") or "")
        for each in (conditions if isinstance(conditions, list) else [])
        if dig(each, "status") == "True"
    }


def _count(raw: Any, key: str, default: int | None = None) -> int | None:  # noqa: ANN401  # JSON may hold anything
    value = dig(raw, key)
    return value if isinstance(value, int) else default


def read_controller(kind: str, raw: object) -> Controller:
    """Read a Job or a TestRun: what the target of this kind is made by."""
    return TestRun.read(raw) if kind == "testrun" else Job.read(raw)


def is_helper(raw: object) -> bool:
    """Whether a pod is one of k6-operator's helpers, which have the test's labels and a container named k6, too."""
    labels = dig(raw, "metadata", "labels")
    return bool(dig(labels, "k6_cr")) and dig(labels, "runner") != "true"
