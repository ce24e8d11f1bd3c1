"""Adds the sidecar to a workload, and removes it so that the workload is as it was before."""

import json
from collections.abc import Callable
from typing import Any

from k6_sweep.inject.cleanup import OUR_CONTAINERS, OUR_VOLUMES, Cleanup, Manifest
from k6_sweep.inject.hooks import for_permissions
from k6_sweep.inject.permissions import account_of, metadata_of, permissions, rules
from k6_sweep.inject.watcher import watcher
from k6_sweep.inject.workload import BEFORE, TEST_LABEL, Workload
from k6_sweep.settings.target import Target

_Put = Callable[[Manifest, str, object], None]


def inject(workload: Workload, cleanup: Cleanup, namespace: str | None, target: Target | None) -> list[Manifest]:
    """Add k6-sweep to a workload, as a sidecar, or as a watcher of this target; return the other objects."""
    if target:
        if target.kind.endswith("selector"):
            for place in workload.labelled:
                labels = place.setdefault("metadata", {}).get("labels") or {}
                place["metadata"]["labels"] = {**labels, TEST_LABEL: workload.name}
        return watcher(cleanup, workload, target, namespace or "")
    pod, before = workload.pod, dict[str, Any]()

    def put(place: Manifest, field: str, value: object, /) -> None:
        before[field] = place.get(field)
        place[field] = value

    grace_period = cleanup.grace_period(pod.get("terminationGracePeriodSeconds") or 0)
    if cleanup.settings.detector != "kubernetes":
        put(pod, "shareProcessNamespace", True)
    put(pod, "terminationGracePeriodSeconds", grace_period)
    if workload.job and cleanup.knows_native:
        # Else the next pod starts while this one ends, and the sweep deletes its keys.
        put(workload.job, "podReplacementPolicy", "Failed")
    beside_it = _permissions(workload, cleanup, namespace, put)
    theirs = len(pod["containers"]) + len(pod.get("initContainers") or [])
    # Init containers count too when the kubelet divides the space for messages.
    containers = theirs + 1 + len(cleanup.before_the_test(theirs))
    sidecar = cleanup.sidecar(grace_period, workload.backoff_limit, containers)
    # The sidecar comes last: the snapshot is complete then, and the sidecar of a mesh runs.
    init = cleanup.before_the_test(containers) + ([sidecar] if cleanup.native else [])
    if init:
        _lengthen(pod, "initContainers", init, before)
    if not cleanup.native:
        # The kubelet starts containers in their order, so k6-sweep is not later than k6.
        pod["containers"].insert(0, sidecar)
    if volumes := cleanup.volumes(in_pod=True):
        _lengthen(pod, "volumes", volumes, before)
    metadata = workload.manifest.setdefault("metadata", {})
    _fill(metadata, "annotations", {}, before)
    metadata["annotations"][BEFORE] = json.dumps(before)
    return beside_it


def _lengthen(pod: Manifest, field: str, entries: list[Manifest], before: dict[str, Any]) -> None:
    _fill(pod, field, [], before)
    pod[field].extend(entries)


def _fill(place: Manifest, field: str, empty: Any, before: dict[str, Any]) -> None:
    """Make sure that a field is there; remember it if it is there and empty, so that it comes back."""
    if field in place and not place[field]:
        before[field] = empty.copy()
    place[field] = place.get(field) or empty


def _permissions(workload: Workload, cleanup: Cleanup, namespace: str | None, put: _Put) -> list[Manifest]:
    wanted = rules(cleanup.settings, None)
    if not wanted:
        return []
    put(workload.pod, "automountServiceAccountToken", True)
    metadata = metadata_of(workload.name, namespace or "", for_permissions(workload.annotations))
    return permissions(metadata, wanted, account_of(workload.pod))


def uninject(workload: Workload) -> None:
    """Remove the changes of an earlier inject."""
    if not workload.is_injected:
        return
    for place in workload.labelled:
        metadata = place.get("metadata") or {}
        if (labels := metadata.get("labels") or {}).pop(TEST_LABEL, None) and not labels:
            del metadata["labels"]
        if "metadata" in place and not metadata:
            del place["metadata"]
    if not workload.creates_by_others:
        _remove_parts(workload.pod)
        _restore(workload)


def _remove_parts(pod: Manifest) -> None:
    for field, ours in {"initContainers": OUR_CONTAINERS, "containers": OUR_CONTAINERS, "volumes": OUR_VOLUMES}.items():
        entries = pod.get(field) or []
        left = [each for each in entries if each.get("name") not in ours]
        if entries:
            pod[field] = left
        if entries and not left:
            del pod[field]


def _restore(workload: Workload) -> None:
    metadata = workload.manifest.get("metadata") or {}
    annotations = metadata.get("annotations") or {}
    former = json.loads(annotations.pop(BEFORE, "{}"))
    if "annotations" in metadata and not annotations:
        del metadata["annotations"]
    for field, value in former.items():
        place = {"podReplacementPolicy": workload.job, "annotations": metadata}.get(field, workload.pod)
        if value is None:
            place.pop(field, None)
        else:
            place[field] = value
    if workload.owner and "metadata" in workload.manifest and not metadata:
        del workload.manifest["metadata"]
