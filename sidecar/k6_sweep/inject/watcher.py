"""Builds the watcher of a test in several pods: a Job that waits for all of them, and runs where they run."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from k6_sweep.inject.cleanup import Cleanup, Manifest
from k6_sweep.inject.hooks import for_permissions, for_watcher
from k6_sweep.inject.permissions import DEFAULT_ACCOUNT, account_of, labels, metadata_of, permissions, rules
from k6_sweep.inject.workload import TEST_LABEL, Workload
from k6_sweep.settings.target import Target

_PLACEMENT: Final = ("imagePullSecrets", "nodeSelector", "tolerations", "priorityClassName", "schedulerName")
"""The fields that a pod needs to be pulled, placed and admitted where the test's pods are."""
_MESHES: Final = ("istio.io/", "linkerd.io/", "kuma.io/", "consul.hashicorp.com/", "kubernetes.azure.com/")
"""The ends of the prefixes of annotations that the admission of a mesh reads."""
_JOBS_OWN: Final = ("job-name", "controller-uid", "batch.kubernetes.io/", "app.kubernetes.io/managed-by", "k6-sweep/")
"""The beginnings of labels that a controller sets, or that name the object that they are on."""

_DRAINED: Final = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
"""A long test may outlast many drains, and each of them would count as a failure. A schema requires `status`."""


def target_of(workload: Workload, *, by_label: bool) -> Target | None:
    """Return what the watcher of a test waits for; None if the test runs in one pod and gets a sidecar.

    Args:
        workload: The test.
        by_label: Whether the name of its Job may change later, as kustomize's prefixes and suffixes change it.
    """
    if not workload.needs_watcher:
        return None
    if workload.is_test_run:
        return Target("testrun", workload.name)
    if workload.shape == "Task":
        return Target("selector", f"tekton.dev/task={workload.name}")
    label = f"{TEST_LABEL}={workload.name}"
    if workload.shape == "Workflow":
        return Target("selector", label)
    return Target("job-selector", label) if by_label else Target("job", workload.name)


def watcher(cleanup: Cleanup, workload: Workload, target: Target, namespace: str) -> list[Manifest]:
    """Return the Job that waits for all pods of a test, and its permissions."""
    name, pod, annotations = workload.name, workload.pods, workload.annotations
    volumes, account = cleanup.volumes(in_pod=False), account_of(pod.spec)
    spec = {
        "restartPolicy": "Never",
        **({} if account == DEFAULT_ACCOUNT else {"serviceAccountName": account}),
        "automountServiceAccountToken": True,
        **_placement(pod.spec),
        **({"volumes": volumes} if volumes else {}),
        "terminationGracePeriodSeconds": cleanup.own_grace_period,
        "containers": [cleanup.waiting(str(target))],
    }
    mesh = {key: value for key, value in pod.annotations.items() if any(end in key for end in _MESHES)}
    template = {
        "metadata": {
            "labels": {**_labels(pod.labels, pod.spec), **labels()},
            **({"annotations": mesh} if mesh else {}),
        },
        "spec": spec,
    }
    seconds = workload.job.get("ttlSecondsAfterFinished")
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata_of(name, namespace, for_watcher(annotations)),
        "spec": {
            # A watcher that is stopped while k6 runs sweeps nothing: the Job starts another.
            "backoffLimit": 3,
            "podFailurePolicy": {"rules": [_DRAINED]},
            # Else a second watcher sweeps while the first one ends, and neither counts all keys.
            **({"podReplacementPolicy": "Failed"} if cleanup.knows_native else {}),
            **({} if seconds is None else {"ttlSecondsAfterFinished": seconds}),
            "template": template,
        },
    }
    metadata = metadata_of(name, namespace, for_permissions(annotations))
    return [*permissions(metadata, rules(cleanup.settings, target), account), job]


def _placement(spec: Mapping[str, Any]) -> Manifest:
    found = {field: spec[field] for field in _PLACEMENT if spec.get(field)}
    # Only where nodes are concerned: an affinity to other pods is for the test's pods.
    if nodes := (spec.get("affinity") or {}).get("nodeAffinity"):
        found["affinity"] = {"nodeAffinity": nodes}
    return found


def _labels(theirs: Mapping[str, str], spec: Mapping[str, Any]) -> dict[str, str]:
    """Return the labels of the test's pods, which admission may read, without those by which the test places its pods.

    A watcher with those would take the place of one of the test's pods.
    """
    placing = set(_keys([spec.get("affinity"), spec.get("topologySpreadConstraints")]))
    return {key: value for key, value in theirs.items() if key not in placing and not key.startswith(_JOBS_OWN)}


def _keys(value: Any) -> Iterator[str]:
    """Yield the label keys in the selectors of a value."""
    if isinstance(value, list):
        for each in value:
            yield from _keys(each)
    elif isinstance(value, dict):
        yield from value.get("matchLabels") or ()
        yield from (str(each.get("key")) for each in value.get("matchExpressions") or () if isinstance(each, dict))
        for each in value.values():
            yield from _keys(each)
