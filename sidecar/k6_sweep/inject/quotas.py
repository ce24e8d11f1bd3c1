"""Finds where a ResourceQuota or a LimitRange would refuse a test's pod because of k6-sweep."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from k6_sweep.inject.cleanup import Cleanup, Manifest
from k6_sweep.inject.values import amount, resources_of
from k6_sweep.inject.workload import Workload


def of_limits(workload: Workload, k6: Sequence[str], cleanup: Cleanup, manifests: Sequence[Any]) -> Iterator[str]:
    """Yield where a ResourceQuota or a LimitRange of the namespace would refuse the pod because of k6-sweep.

    Args:
        workload: The test.
        k6: The names of its k6 containers.
        cleanup: What is added to it.
        manifests: All manifests that were read.
    """
    ours = resources_of(cleanup.settings.requests, cleanup.settings.limits)
    near = [each for each in manifests if isinstance(each, dict) and _same_namespace(each, workload)]
    found = [*_of_quotas(near, ours), *_of_ranges(near, ours)]
    theirs = [(each.get("resources") or {}).get("limits") or {} for each in workload.containers if each["name"] in k6]
    if not found and any("cpu" in limits for limits in theirs) and "cpu" not in ours["limits"]:
        yield (
            "k6 has a CPU limit and k6-sweep has none, which a ResourceQuota on limits.cpu refuses; if the namespace "
            "has one, set --limits cpu=500m"
        )
    yield from found


def _of_quotas(manifests: Sequence[Manifest], ours: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    for manifest in manifests:
        hard = (manifest.get("spec") or {}).get("hard") if manifest.get("kind") == "ResourceQuota" else None
        for key in hard or {}:
            side, _, resource = str(key).partition(".")
            if side in ours and resource in {"cpu", "memory"} and resource not in ours[side]:
                name = manifest["metadata"]["name"]
                yield f"ResourceQuota {name} refuses a container without {key}; set --{side} {resource}=…"


def _of_ranges(manifests: Sequence[Manifest], ours: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    for manifest in manifests:
        if manifest.get("kind") == "LimitRange":
            limits = (manifest.get("spec") or {}).get("limits") or []
            yield from _of_range(manifest["metadata"]["name"], limits, ours)


def _of_range(name: str, limits: Sequence[Any], ours: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    for each in limits:
        if not isinstance(each, dict) or each.get("type") != "Container":
            continue
        for resource, least in (each.get("min") or {}).items():
            if amount(ours["requests"].get(resource, "0")) < amount(str(least)):
                yield f"LimitRange {name} refuses less {resource} than {least}; set --requests {resource}={least}"
        for resource, most in (each.get("max") or {}).items():
            limit = ours["limits"].get(resource)
            if limit is None or amount(limit) > amount(str(most)):
                yield f"LimitRange {name} refuses more {resource} than {most}; set --limits {resource}={most}"


def _same_namespace(manifest: Mapping[str, Any], workload: Workload) -> bool:
    namespaces = {(manifest.get("metadata") or {}).get("namespace"), workload.namespace} - {None}
    return len(namespaces) < 2  # noqa: PLR2004  # both are known and differ
