"""Reads a pod and its k6 containers from the API's raw JSON, which may have any content."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

_DEFAULT_GRACE: Final = 30.0
"""Kubernetes' default of `terminationGracePeriodSeconds`."""
_NEVER_RAN: Final = frozenset({"StartError", "ContainerCannotRun"})
"""Reasons of containers that ended before their process ran: this k6 has written no keys."""
_WITHOUT_REASON: Final = "Error"
"""The reason of a container that gave no other one than its exit code."""


@dataclass(frozen=True)
class K6Pod:
    """A pod and the state of its k6 containers, of which it usually has one."""

    uid: str
    name: str
    containers: tuple[str, ...]
    """The names of its containers."""
    has_k6: bool
    """Whether one of the containers is k6's."""
    lacks: tuple[str, ...]
    """The names of k6's containers that no container has."""
    ran: bool
    """Whether a k6 runs or has run."""
    ended: bool
    """Whether every k6 has ended, or never started, and the kubelet will not start it again."""
    failed: bool
    """Whether the whole pod has failed, with any exit code of k6: a Job counts it in the same way."""
    restarts: bool
    """Whether the kubelet may start an ended k6 again."""
    owner: str | None
    """The uid of the pod's controller, for example a Job."""
    deleted_by: datetime | None
    """When the pod's deletion must be complete; None if the pod is not being deleted."""
    exit_code: int | None
    """The first code other than 0; None if one is not known."""
    reason: str | None
    """Why k6 ended, or why it does not start, as the API reports it."""
    ended_at: datetime | None
    grace_period: float
    """Seconds from a signal to SIGKILL; while the pod is being deleted, those of the deletion."""
    own_grace_period: float
    """The same from the pod's spec, even during a deletion: a forced deletion sets 0, but does not end k6."""


@dataclass(frozen=True)
class _Container:
    """The state of one k6 container."""

    exists: bool
    ran: bool
    ended: bool
    restarts: bool
    exit_code: int | None
    reason: str | None
    ended_at: datetime | None


def read_pod(raw: object, k6_containers: Sequence[str]) -> K6Pod:
    """Read a pod of the API; one of several k6 containers may be there.

    Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/ (phases, container states, restarts).
    """
    phase = _text(raw, "status", "phase")
    deleted_by = _time(raw, "metadata", "deletionTimestamp")
    going = deleted_by is not None
    owners = [dig(each, "uid") for each in _list(raw, "metadata", "ownerReferences") if dig(each, "controller") is True]
    grace = _number(raw, "spec", "terminationGracePeriodSeconds")
    own_grace = _DEFAULT_GRACE if grace is None else float(grace)
    deletion_grace = _number(raw, "metadata", "deletionGracePeriodSeconds") if going else None
    read = {name: _read_container(raw, name, going=going) for name in k6_containers}
    k6 = [each for each in read.values() if each.exists] or list(read.values())
    codes = [each.exit_code for each in k6]
    bad = [each for each in k6 if each.exit_code]
    # While one has not ended, its reason is wanted: why it does not start.
    telling = [each for each in k6 if not each.ended] or bad or k6
    return K6Pod(
        uid=str(_text(raw, "metadata", "uid") or ""),
        name=str(_text(raw, "metadata", "name") or ""),
        containers=tuple(str(dig(each, "name")) for each in _list(raw, "spec", "containers")),
        has_k6=any(each.exists for each in read.values()),
        lacks=tuple(name for name, each in read.items() if not each.exists),
        ran=any(each.ran for each in k6),
        ended=all(each.ended for each in k6),
        failed=phase == "Failed",
        restarts=any(each.restarts for each in k6),
        owner=str(owners[0]) if owners else None,
        deleted_by=deleted_by,
        exit_code=bad[0].exit_code if bad else (None if None in codes else 0),
        reason=next((each.reason for each in telling if each.reason), None),
        ended_at=max((each.ended_at for each in k6 if each.ended_at), default=None),
        grace_period=own_grace if deletion_grace is None else float(deletion_grace),
        own_grace_period=own_grace,
    )


def _read_container(raw: object, name: str, *, going: bool) -> _Container:
    """Read a k6 container; `going` means that its pod is being deleted."""
    spec = next((each for each in _list(raw, "spec", "containers") if dig(each, "name") == name), None)
    status = next((each for each in _list(raw, "status", "containerStatuses") if dig(each, "name") == name), None)
    end = _dict(status, "state", "terminated")
    before = _dict(status, "lastState", "terminated")
    running = isinstance(dig(status, "state", "running"), dict)
    code = _number(end, "exitCode")
    # The phase outranks the container statuses: in an evicted pod they may stay `running`.
    over = _text(raw, "status", "phase") in {"Succeeded", "Failed"}
    # The kubelet restarts no container of a pod that is being deleted.
    restarted = bool(end) and not going and (_will_restart(raw, spec, code) or _others_restart(raw, name))
    reason = _text(end, "reason")
    if over and reason in {None, _WITHOUT_REASON}:
        reason = _text(raw, "status", "reason") or reason  # Evicted, DeadlineExceeded
    return _Container(
        exists=spec is not None,
        # A container that waits for its next start (CrashLoopBackOff) shows only in lastState that it ran.
        ran=running or _lived(end) or _lived(before),
        ended=over or (bool(end) and not restarted),
        restarts=_will_restart(raw, spec, None) or any(map(restarts_all, _containers(raw))),
        exit_code=code,
        reason=reason or _text(status, "state", "waiting", "reason"),
        ended_at=_time(end, "finishedAt"),
    )


def dig(raw: object, *path: str) -> Any:
    """Return the value at a path of keys; None if there is no value."""
    for key in path:
        raw = raw.get(key) if isinstance(raw, Mapping) else None
    return raw


def _lived(end: Mapping[str, Any]) -> bool:
    return bool(end) and _text(end, "reason") not in _NEVER_RAN


def _will_restart(raw: object, container: object, code: int | None) -> bool:
    """Whether the kubelet restarts a container that ends with this code; None means some code other than 0.

    Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#container-restarts
    """
    # KEP-5307 (Kubernetes 1.34). The action may also be RestartAllContainers (KEP-5532), which includes k6.
    for rule in _list(container, "restartPolicyRules"):
        values = _list(rule, "exitCodes", "values")
        matches = code is None or (code in values) == (dig(rule, "exitCodes", "operator") == "In")
        if matches and str(dig(rule, "action") or "").startswith("Restart"):
            return True
    policy = dig(container, "restartPolicy") or dig(raw, "spec", "restartPolicy") or "Always"
    return policy == "Always" or (policy == "OnFailure" and code != 0)


def restarts_all(container: object) -> bool:
    """Whether a container has a rule that restarts all containers of its pod (KEP-5532)."""
    return any(dig(rule, "action") == "RestartAllContainers" for rule in _list(container, "restartPolicyRules"))


def _others_restart(raw: object, k6: str) -> bool:
    """Whether another container may still restart all, k6 too: it has such a rule, and may not have ended for good."""
    statuses = [*_list(raw, "status", "containerStatuses"), *_list(raw, "status", "initContainerStatuses")]
    ended = {str(dig(each, "name")): _number(each, "state", "terminated", "exitCode") for each in statuses}
    for container in _containers(raw):
        name = dig(container, "name")
        if name != k6 and restarts_all(container):
            code = ended.get(str(name))
            if code is None or _will_restart(raw, container, code):
                return True
    return False


def _containers(raw: object) -> list[Any]:
    return [*_list(raw, "spec", "containers"), *_list(raw, "spec", "initContainers")]


def _list(raw: object, *path: str) -> list[Any]:
    found = dig(raw, *path)
    return found if isinstance(found, list) else []


def _dict(raw: object, *path: str) -> Mapping[str, Any]:
    found = dig(raw, *path)
    return found if isinstance(found, Mapping) else {}


def _text(raw: object, *path: str) -> str | None:
    found = dig(raw, *path)
    return found if isinstance(found, str) and found else None


def _number(raw: object, *path: str) -> int | None:
    found = dig(raw, *path)
    # In Python, a bool is an int.
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def _time(raw: object, *path: str) -> datetime | None:
    try:
        return datetime.fromisoformat(_text(raw, *path) or "")
    except ValueError:
        return None
