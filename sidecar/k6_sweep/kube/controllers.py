"""What a Job or a TestRun says of its k6 pods: whether it is over, and whether more of them will come."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self

from k6_sweep.kube.pods import K6Pod, dig

_BACKOFF_LIMIT: Final = 6
"""The Job's own default."""
_SUCCESS: Final = frozenset({"Complete", "SuccessCriteriaMet"})
_FAILURE: Final = frozenset({"Failed", "FailureTarget"})
"""A Job's conditions; the second of each pair comes first, while its pods are still ending."""
_FINAL_STAGES: Final = frozenset({"finished", "stopped", "error"})
_RUNNING_STAGES: Final = frozenset({"started", "stopped", "finished"})


class Controller(Protocol):
    """What makes k6's pods. Where it is given pods, they are its own."""

    @property
    def uid(self) -> str:
        """Tells it from another one of the same name."""

    @property
    def over(self) -> bool:
        """Whether it says of itself that it starts no more pods, and that those it has are to end."""

    @property
    def reason(self) -> str | None:
        """Why it ended badly, in its own words."""

    @property
    def ran(self) -> bool:
        """Whether it says that k6 runs, or has run."""

    def passed(self, pods: Iterable[K6Pod]) -> bool | None:
        """Whether the test as a whole has passed; None where that is open, or not its to say."""

    def expects_more(self, pods: Iterable[K6Pod]) -> bool:
        """Whether pods may still come."""


@dataclass(frozen=True)
class Job:
    """A Job, as the API has it.

    Source: https://kubernetes.io/docs/concepts/workloads/controllers/job/
    """

    uid: str
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
            uid=_uid(raw),
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
        """Whether a condition says that it has succeeded or failed."""
        return bool(self.conditions.keys() & (_SUCCESS | _FAILURE))

    @property
    def reason(self) -> str | None:
        """Why it has failed."""
        return next((self.conditions[name] for name in sorted(_FAILURE) if self.conditions.get(name)), None)

    @property
    def ran(self) -> bool:
        """Whether a pod of it has succeeded: of a failed one nobody knows whether k6 ever ran in it."""
        return self.succeeded > 0

    def passed(self, pods: Iterable[K6Pod]) -> bool | None:
        """Whether it has passed, failures on the way included: by its conditions, else as it will count itself.

        What it deleted (suspended, or with fewer pods wanted) it doesn't count as failed, and what ended in other ways
        it counts in its status.
        """
        if self.conditions.keys() & _FAILURE:
            return False
        if self.conditions.keys() & _SUCCESS:
            return True
        counted = [pod for pod in pods if pod.ended and pod.deleted_by is None]
        good = [pod.exit_code == 0 and not pod.failed for pod in counted]
        if self.backoff_limit is not None and max(self.failures, good.count(False)) > self.backoff_limit:
            return False
        wanted = 1 if self.completions is None else self.completions
        return True if max(self.succeeded, good.count(True)) >= wanted else None

    def expects_more(self, pods: Iterable[K6Pod]) -> bool:
        """Whether pods are still to come; in doubt, yes."""
        if self.over:
            return False
        return self.suspended or not self.parallelism or self.passed(pods) is None


@dataclass(frozen=True)
class TestRun:
    """A TestRun of k6-operator.

    Source: https://grafana.com/docs/k6/latest/set-up/set-up-distributed-k6/ and the operator's status.stage.
    """

    uid: str
    stage: str
    running: bool
    """Whether its condition TestRunRunning holds."""

    @classmethod
    def read(cls, raw: object) -> Self:
        """Read a TestRun of the API."""
        return cls(_uid(raw), str(dig(raw, "status", "stage") or ""), "TestRunRunning" in _true_conditions(raw))

    @property
    def over(self) -> bool:
        """Whether its stage is final."""
        return self.stage in _FINAL_STAGES

    @property
    def reason(self) -> str | None:
        """Nothing beyond the stage."""
        return "TestRun in stage error" if self.stage == "error" else None

    @property
    def ran(self) -> bool:
        """Whether its runners have been started."""
        return self.stage in _RUNNING_STAGES or self.running

    def passed(self, pods: Iterable[K6Pod]) -> bool | None:  # noqa: ARG002  # the stage knows
        """Whether it has failed: `finished` says nothing, for it is the end of failed runners, too."""
        return False if self.stage == "error" else None

    def expects_more(self, pods: Iterable[K6Pod]) -> bool:  # noqa: ARG002  # the same
        """Whether it is not over."""
        return not self.over


def _uid(raw: object) -> str:
    return str(dig(raw, "metadata", "uid") or "")


def _true_conditions(raw: object) -> dict[str, str]:
    conditions = dig(raw, "status", "conditions")
    return {
        str(dig(each, "type")): str(dig(each, "reason") or "")
        for each in (conditions if isinstance(conditions, list) else [])
        if dig(each, "status") == "True"
    }


def _count(raw: Any, key: str, default: int | None = None) -> int | None:
    value = dig(raw, key)
    return value if isinstance(value, int) else default


def read_controller(kind: str, raw: object) -> Controller:
    """Read a Job or a TestRun: what the target of this kind is made by."""
    return TestRun.read(raw) if kind == "testrun" else Job.read(raw)


def is_helper(raw: object) -> bool:
    """Whether a pod is one of k6-operator's helpers, which have the test's labels and a container named k6, too."""
    labels = dig(raw, "metadata", "labels")
    return bool(dig(labels, "k6_cr")) and dig(labels, "runner") != "true"
