"""The facts about k6 in a pod's JSON, for any content."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k6_sweep.kube.pods import K6Pod, read_pod

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
RUNNING: dict[str, object] = {"running": {}}


def raw(state: object, *, policy: object = "Never", phase: object = "Running", **k6: object) -> dict[str, Any]:
    return {
        "metadata": {"name": "pod", "uid": "1"},
        "spec": {"restartPolicy": policy, "containers": [{"name": "k6", **k6}, {"name": "mesh"}]},
        "status": {"phase": phase, "containerStatuses": [{"name": "k6", "state": state}]},
    }


def ended(code: object, reason: str = "Error") -> dict[str, object]:
    return {"terminated": {"exitCode": code, "reason": reason}}


def rule(operator: str, *codes: int, action: str = "Restart") -> list[dict[str, object]]:
    return [{"action": action, "exitCodes": {"operator": operator, "values": list(codes)}}]


@pytest.mark.parametrize(
    ("pod", "ran", "over"),
    [
        (raw({"waiting": {"reason": "ImagePullBackOff"}}), False, False),
        (raw(RUNNING), True, False),
        (raw(ended(0)), True, True),
        (raw(ended(99)), True, True),
        (raw(ended(128, "StartError")), False, True),
        (raw(ended(0), policy="OnFailure"), True, True),
        (raw(ended(99), policy="OnFailure"), True, False),
        (raw(ended(0), policy="Always"), True, False),
        (raw(ended(0), policy=None), True, False),
        (raw(ended(99), policy="Always", restartPolicy="Never"), True, True),
        (raw(ended(99), restartPolicy="Always"), True, False),
        (raw(ended(99), restartPolicy="Never", restartPolicyRules=rule("In", 99)), True, False),
        (raw(ended(0), restartPolicy="Never", restartPolicyRules=rule("In", 99)), True, True),
        (raw(ended(0), restartPolicy="Never", restartPolicyRules=rule("NotIn", 99)), True, False),
        (raw(ended(9), restartPolicyRules=rule("In", 9, action="RestartAllContainers")), True, False),
        (raw(ended(99), policy="Always", phase="Failed"), True, True),
        (raw(RUNNING, phase="Succeeded"), True, True),
        (raw(RUNNING, phase="Unknown"), True, False),
        (raw({}, phase="Failed"), False, True),
        (raw(None), False, False),
        ({}, False, False),
    ],
)
def test_whether_it_ran_and_whether_it_is_over(pod: object, ran: bool, over: bool) -> None:
    """An end counts only if the kubelet cannot start k6 again; in doubt it can."""
    read = read_pod(pod, ["k6"])
    assert (read.ran, read.ended) == (ran, over)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (ended(137), "Evicted"),
        ({}, "Evicted"),
        (ended(137, "OOMKilled"), "OOMKilled"),
        (ended(0, "Completed"), "Completed"),
    ],
)
def test_an_evicted_pod_has_its_own_reason(state: object, reason: str) -> None:
    """The kubelet writes why it evicted a pod in the pod's status; the container's reason is only Error."""
    pod = raw(state, phase="Failed")
    pod["status"]["reason"] = "Evicted"
    assert read_pod(pod, ("k6",)).reason == reason


@pytest.mark.parametrize(
    ("other", "over"),
    [
        ({}, False),
        (RUNNING, False),
        (ended(3), False),
        (ended(0), True),
        ({"waiting": {"reason": "PodInitializing"}}, False),
    ],
)
@pytest.mark.parametrize("kind", ["containers", "initContainers"])
def test_another_container_may_restart_all(kind: str, other: dict[str, object], over: bool) -> None:
    """k6's end is none while a container with the rule RestartAllContainers runs or ends with the rule's code."""
    pod = raw(ended(0))
    rules = rule("In", 3, action="RestartAllContainers")
    pod["spec"].setdefault(kind, []).append({"name": "mock", "restartPolicy": "Never", "restartPolicyRules": rules})
    statuses = "containerStatuses" if kind == "containers" else "initContainerStatuses"
    pod["status"].setdefault(statuses, []).append({"name": "mock", "state": other})
    read = read_pod(pod, ["k6"])
    assert (read.ended, read.restarts) == (over, True)
    pod["status"]["phase"] = "Succeeded"
    assert read_pod(pod, ["k6"]).ended


def test_a_pod_that_is_being_deleted_starts_nothing_again() -> None:
    """A pod that is being deleted restarts no container, and its grace period is that of the deletion."""
    pod = raw(ended(99), policy="Always")
    pod["spec"]["terminationGracePeriodSeconds"] = 60
    pod["metadata"] |= {"deletionTimestamp": "2026-11-22T07:00:00Z", "deletionGracePeriodSeconds": 5}
    read = read_pod(pod, ["k6"])
    assert (read.ended, read.grace_period, read.own_grace_period) == (True, 5.0, 60.0)


def test_what_came_before_a_restart_counts_as_run() -> None:
    """A container in its back-off counts as one that ran."""
    pod = raw({"waiting": {"reason": "CrashLoopBackOff"}}, policy="Always")
    pod["status"]["containerStatuses"][0]["lastState"] = ended(107)
    read = read_pod(pod, ["k6"])
    assert (read.ran, read.ended, read.reason) == (True, False, "CrashLoopBackOff")


@given(JSON)
def test_no_json_breaks_it(anything: object) -> None:
    """No JSON raises an exception, and none gives an end that it does not contain."""
    assert isinstance(read_pod(anything, ["k6"]), K6Pod)
    assert not read_pod(anything, ["k6"]).ended


@given(state=JSON, policy=JSON, phase=JSON, k6=st.dictionaries(st.sampled_from(["restartPolicyRules", "x"]), JSON))
def test_no_odd_field_breaks_it(state: object, policy: object, phase: object, k6: dict[str, object]) -> None:
    """Fields of unknown shapes are ignored."""
    read = read_pod(raw(state, policy=policy, phase=phase, **k6), ["k6"])
    if read.ended and phase not in ("Succeeded", "Failed"):
        assert isinstance(state, dict)
        assert state.get("terminated")


@pytest.mark.parametrize(
    ("smoke", "heavy", "seen", "over", "code", "reason"),
    [
        (RUNNING, {"waiting": {"reason": "ContainerCreating"}}, True, False, None, "ContainerCreating"),
        (ended(0, "Completed"), RUNNING, True, False, None, None),
        (ended(0, "Completed"), ended(99), True, True, 99, "Error"),
        (ended(137, "OOMKilled"), ended(0, "Completed"), True, True, 137, "OOMKilled"),
        (ended(0, "Completed"), ended(0, "Completed"), True, True, 0, "Completed"),
        (ended(0), None, True, False, None, None),
    ],
)
def test_several_k6_in_one_pod(
    smoke: object, heavy: object, seen: bool, over: bool, code: int | None, reason: str | None
) -> None:
    """Of several k6 containers the last one's end counts, and the first bad exit code."""
    pod = raw(None)
    pod["spec"]["containers"] = [{"name": "smoke"}, {"name": "mesh"}, {"name": "heavy"}]
    states = {"smoke": smoke, "mesh": RUNNING, "heavy": heavy}
    pod["status"]["containerStatuses"] = [{"name": name, "state": state} for name, state in states.items()]
    read = read_pod(pod, ["smoke", "heavy"])
    assert (read.ran, read.ended, read.exit_code, read.reason) == (seen, over, code, reason)
    assert (read.has_k6, read.lacks) == (True, ())
    assert read_pod(pod, ["smoke", "heavi"]).lacks == ("heavi",)
