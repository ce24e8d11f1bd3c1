"""Finds the workloads in a manifest, and their malformed fields."""

import json
from collections.abc import Iterator
from typing import Any, Final

from k6_sweep.inject.cleanup import Manifest
from k6_sweep.inject.workload import BEFORE, PODS_AT, Workload, mapping

_TEST_RUNS: Final = {"TestRun", "K6"}
"""The kinds of k6-operator: K6 is the old name."""


def workloads(manifest: Any) -> Iterator[Workload]:
    """Yield the workloads of a manifest, of a List of manifests or of a Template of OpenShift."""
    if not isinstance(manifest, dict):
        return
    kind, version = str(manifest.get("kind", "")), str(manifest.get("apiVersion", ""))
    if kind.endswith("List"):
        for item in manifest.get("items") or []:
            yield from workloads(item)
    elif kind == "Template" and version.startswith("template.openshift.io/"):
        for item in manifest.get("objects") or []:
            yield from workloads(item)
    elif version.startswith("argoproj.io/"):
        yield from _of_argo(manifest, kind)
    elif kind == "Task" and version.startswith("tekton.dev/"):
        yield Workload(manifest, kind, "Task")
    elif kind in _TEST_RUNS and version.startswith("k6.io/"):
        yield Workload(manifest, kind, "TestRun")
    elif kind in PODS_AT and kind != "TestRun":
        yield Workload(manifest, kind, kind)


def _of_argo(manifest: Manifest, kind: str) -> Iterator[Workload]:
    """Yield the Jobs of an AnalysisTemplate, and the templates of a workflow whose container runs k6."""
    spec = mapping(manifest.get("spec"))
    if kind in {"AnalysisTemplate", "ClusterAnalysisTemplate"}:
        for metric in spec.get("metrics") or []:
            if job := mapping(mapping(mapping(metric).get("provider")).get("job")):
                yield Workload(job, kind, "Job", manifest)
    elif kind in {"Workflow", "WorkflowTemplate", "ClusterWorkflowTemplate", "CronWorkflow"}:
        for template in mapping(spec.get("workflowSpec", spec)).get("templates") or []:
            found = Workload(mapping(template), kind, "Workflow", manifest)
            if found.like_k6:
                yield found


def malformations(workload: Workload) -> Iterator[str]:
    """Yield the malformed fields, which the API server would refuse and `inject` cannot process."""
    metadata = (workload.owner or workload.manifest).get("metadata")
    if not isinstance(metadata, dict) or not (metadata.get("name") or metadata.get("generateName")):
        yield "metadata must be a mapping with a name"
    elif not isinstance(metadata.get("annotations") or {}, dict):
        yield "metadata.annotations must be a mapping"
    elif not _is_record((metadata.get("annotations") or {}).get(BEFORE, "{}")):
        yield f"the annotation {BEFORE} was changed after inject wrote it; remove it and what inject added"
    if workload.creates_by_others:
        return
    for field in ("containers", "initContainers", "volumes"):
        entries = workload.pod.get(field) or []
        if not isinstance(entries, list) or not all(isinstance(each, dict) and each.get("name") for each in entries):
            yield f"{field} must be a list of mappings with a name"
    numbers = {name: workload.job.get(name) for name in ("parallelism", "backoffLimit")}
    numbers["terminationGracePeriodSeconds"] = workload.pod.get("terminationGracePeriodSeconds")
    for field, number in numbers.items():
        if number is not None and not isinstance(number, int):
            yield f"{field} must be a whole number"


def _is_record(text: object) -> bool:
    try:
        return isinstance(json.loads(str(text)), dict)
    except ValueError:
        return False
