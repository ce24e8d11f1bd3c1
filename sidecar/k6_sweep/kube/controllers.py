"""Reads from a Job or a TestRun whether its test is over, and whether it will start more k6 pods."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self

from k6_sweep.kube.pods import K6Pod, dig

_BACKOFF_LIMIT: Final = 6
"""The default of a Job."""
_SUCCESS: Final = frozenset({"Complete", "SuccessCriteriaMet"})
_FAILURE: Final = frozenset({"Failed", "FailureTarget"})
"""A Job's conditions; Kubernetes sets the second of each pair first, while the Job's pods are still ending."""
_FINAL_STAGES: Final = frozenset({"finished", "stopped", "error"})
_RUNNING_STAGES: Final = frozenset({"started", "stopped", "finished"})
"""Not `error`: a TestRun may get there before it has runners."""


class Controller(Protocol):
    """The owner of k6's pods, a Job or a TestRun. The `pods` in its methods are its own."""

    @property
    def uid(self) -> str:
        """Distinguishes it from another one of the same name."""

    @property
    def over(self) -> bool:
        """Whether it reports that it starts no more pods and that its current pods will end."""

    @property
    def reason(self) -> str | None:
        """Why it failed, as it reports itself."""

    @property
    def ran(self) -> bool:
        """Whether it reports that k6 runs or has run."""

    def passed(self, pods: Iterable[K6Pod]) -> bool | None:
        """Whether the whole test has passed; None if that is not decided, or if it does not report it."""

    def expects_more(self, pods: Iterable[K6Pod]) -> bool:
        """Whether it may start more pods."""


@dataclass(frozen=True)
class Job:
    """A Job of the API.

    Source: https://kubernetes.io/docs/concepts/workloads/controllers/job/
    """

    uid: str
    conditions: Mapping[str, str]
    """The true conditions, with their reasons."""
    suspended: bool
    completions: int | None
    """None: one success is enough, and after it the Job starts no more pods."""
    parallelism: int
    backoff_limit: int | None
    """None: the Job uses other rules to decide which failure is the last, and k6-sweep does not evaluate them."""
    succeeded: int
    failures: int

    @classmethod
    def read(cls, raw: object) -> Self:
        """Read a Job of the API."""
        spec, status = dig(raw, "spec"), dig(raw, "status")
        # With these fields, one failure may end the Job, or count only for its index.
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
        """Whether a condition reports success or failure."""
        return bool(self.conditions.keys() & (_SUCCESS | _FAILURE))

    @property
    def reason(self) -> str | None:
        """The reason of its failure."""
        return next((self.conditions[name] for name in sorted(_FAILURE) if self.conditions.get(name)), None)

    @property
    def ran(self) -> bool:
        """Whether one of its pods has succeeded: the Job does not show whether k6 ever ran in a failed pod."""
        return self.succeeded > 0

    def passed(self, pods: Iterable[K6Pod]) -> bool | None:
        """Whether it has passed, even after failed attempts: by its conditions, else by the rules of a Job's own count.

        A Job does not count pods that it deleted itself (it was suspended, or its parallelism was reduced) as failed;
        pods that ended in other ways are counted in its status.
        """
        if self.conditions.keys() & _FAILURE:
            return False
        if self.conditions.keys() & _SUCCESS:
            return True
        # The pods count too: an endless mesh container keeps a Job from ever being Complete.
        counted = [pod for pod in pods if pod.ended and pod.deleted_by is None]
        # A Job counts pods, not containers: it replaces a failed pod even if k6 exited with 0.
        good = [pod.exit_code == 0 and not pod.failed for pod in counted]
        # The limit comes first: with parallelism, one pod may succeed in a Job that has failed.
        # The larger number counts: the status lags behind the pods, and pods may be deleted after it counted them.
        if self.backoff_limit is not None and max(self.failures, good.count(False)) > self.backoff_limit:
            return False
        wanted = 1 if self.completions is None else self.completions
        return True if max(self.succeeded, good.count(True)) >= wanted else None

    def expects_more(self, pods: Iterable[K6Pod]) -> bool:
        """Whether it may start more pods; true if that is not certain."""
        if self.over:
            return False
        # Parallelism 0 pauses a Job, as `suspend` does.
        return self.suspended or not self.parallelism or self.passed(pods) is None


@dataclass(frozen=True)
class TestRun:
    """A TestRun of k6-operator.

    Source: https://grafana.com/docs/k6/latest/set-up/set-up-distributed-k6/ and the operator's status.stage.
    """

    uid: str
    stage: str
    running: bool
    """Whether its condition TestRunRunning is true."""

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
        """The stage `error`; a TestRun reports no other reason."""
        return "TestRun in stage error" if self.stage == "error" else None

    @property
    def ran(self) -> bool:
        """Whether its runners were started."""
        return self.stage in _RUNNING_STAGES or self.running

    def passed(self, pods: Iterable[K6Pod]) -> bool | None:  # noqa: ARG002  # the stage knows
        """False if it has failed, else None: failed runners also end in the stage `finished`."""
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
    """Read the Job or the TestRun that owns the pods of a target of this kind."""
    return TestRun.read(raw) if kind == "testrun" else Job.read(raw)


def is_helper(raw: object) -> bool:
    """Whether a pod is a helper of k6-operator: helpers also have the test's labels and a container named k6."""
    labels = dig(raw, "metadata", "labels")
    return bool(dig(labels, "k6_cr")) and dig(labels, "runner") != "true"
