"""The reasons why k6-sweep cannot be added to a workload that runs k6."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from k6_sweep.errors import RefusedError
from k6_sweep.inject.cleanup import Cleanup, Manifest
from k6_sweep.inject.hooks import HELM
from k6_sweep.inject.permissions import beside, rules
from k6_sweep.inject.render import in_block
from k6_sweep.inject.repeats import repeats
from k6_sweep.inject.watcher import watcher
from k6_sweep.inject.workload import Workload
from k6_sweep.kube.pods import restarts_all
from k6_sweep.settings.target import Target
from k6_sweep.sweep.guard import check_namespace

_LONGEST_JOB_NAME: Final = 63
"""Characters: the Job controller puts the name into a label of the pods."""
_RUNS: Final = frozenset({"TestRun", "K6", "Workflow"})
"""Kinds of which one object is one run of the test; of the others, each object may be run many times."""
_THAT_END: Final = frozenset({"Pod", "Job", "CronJob", "PodTemplate", "AnalysisTemplate", "ClusterAnalysisTemplate"})


def reasons_against(
    workload: Workload, cleanup: Cleanup, namespace: str | None, target: Target | None
) -> Iterator[str]:
    """Yield the reasons why k6-sweep cannot be added to a workload that runs k6; `target` is its watcher's."""
    if not workload.creates_by_others and workload.kind not in _THAT_END:
        yield f"a {workload.kind} restarts k6 whenever it ends, so the test never ends; run it as a Job"
        return
    if workload.may_overlap and cleanup.settings.coordinate == "off":
        yield (
            "several of its tests may run at once, and with --coordinate off the sweep of one deletes the keys of the "
            "others; set concurrencyPolicy: Forbid, or remove --coordinate"
        )
    if not workload.creates_by_others:
        yield from _pod_reasons(workload, cleanup)
    if target:
        yield from _watcher_reasons(workload, cleanup, namespace, target)
    yield from _place_reasons(workload, cleanup, namespace, target)


def _watcher_reasons(workload: Workload, cleanup: Cleanup, namespace: str | None, target: Target) -> Iterator[str]:
    if found := repeats(workload):
        yield (
            f"it may run k6 more than once ({', '.join(found)}), and its watcher would sweep between two of the pods; "
            "remove that, or add no watcher, and sweep with k6-sweep run in an exit handler (docs/kubernetes.md)"
        )
        return
    if workload.creates_by_others and workload.kind not in _RUNS:
        by_hand = replace(cleanup, env={**cleanup.env, "SWEEP_K6_CONTAINER": "\n".join(workload.like_k6)})
        manifests = watcher(by_hand, workload, target, namespace or "default")
        yield (
            f"a {workload.kind} starts its pods later, perhaps often; if a run has only one pod with k6 (no retry, no "
            "loop, no second use), create this watcher together with each run:\n"
            + "---\n".join(map(in_block, manifests))
        )
        return
    if not workload.name or workload.shape == "CronJob" or (workload.shape == "Job" and workload.owner):
        yield (
            f"it runs {workload.pods_at_once} pods at once and needs a watcher, which must know the Job's name; set "
            "metadata.name, set parallelism to 1, or use a TestRun"
        )
    if len(beside(workload.name)) > _LONGEST_JOB_NAME:
        yield f"its watcher's name {beside(workload.name)} would be longer than 63 characters; shorten metadata.name"
    if HELM in workload.annotations:
        yield (
            "Helm creates hooks one after the other and waits for each, so a watcher would never run beside the test; "
            f"set parallelism to 1, or remove the annotation {HELM}"
        )
    for flag in ("preflight", "only_new", "fail_job"):
        if getattr(cleanup.settings, flag):
            yield f"--{flag.replace('_', '-')} needs a sidecar, but a test in several pods gets a watcher; remove it"


def _place_reasons(workload: Workload, cleanup: Cleanup, namespace: str | None, target: Target | None) -> Iterator[str]:
    if namespace:
        try:
            # In the pod, k6-sweep would refuse this as well, but only once the test has started.
            check_namespace(cleanup.settings.allowed_namespace, namespace)
        except RefusedError as error:
            yield str(error)
    if not rules(cleanup.settings, target):
        return
    if not workload.name and not target:
        yield "metadata.name is required: the Role takes its name from it"
    if not namespace:
        yield "metadata.namespace is missing, but the Role needs a namespace; set --namespace"


def _pod_reasons(workload: Workload, cleanup: Cleanup) -> Iterator[str]:
    pod, settings = workload.pod, cleanup.settings
    found = workload.k6(settings.k6_container)
    if lacking := [name for name in settings.k6_container if name not in found]:
        yield f"no container is named {', '.join(lacking)}; --k6-container names containers of the pod"
    k6 = [each for each in workload.containers if each["name"] in found]
    yield from _restarts(workload, k6)
    if workload.needs_watcher:
        return
    if workload.several_k6(found) and settings.detector != "kubernetes":
        yield (
            f"containers {', '.join(workload.several_k6(found))} run k6, and processes have no container names; remove "
            "--detector process"
        )
    if settings.fail_job and workload.backoff_limit:
        yield (
            f"--fail-job with backoffLimit {workload.backoff_limit} would run the load test again after a failed "
            "sweep; set backoffLimit to 0"
        )
    if settings.detector != "kubernetes" and pod.get("shareProcessNamespace") is False:
        yield "shareProcessNamespace is false, so k6-sweep cannot see k6; remove it, or set --detector kubernetes"
    if settings.detector != "kubernetes" and pod.get("hostPID"):
        yield "hostPID makes the k6 of other pods visible; remove it, or set --detector kubernetes"
    ours = settings.run_as_user
    if ours in [(each.get("securityContext") or {}).get("runAsUser") for each in (pod, *k6)]:
        yield f"k6 runs as user {ours}, k6-sweep's own, and could read its password; set another runAsUser for k6"


def _restarts(workload: Workload, k6: list[Manifest]) -> Iterator[str]:
    """Yield the reasons why the kubelet may start k6 again; the restart policy of a container overrides the pod's."""
    policy = workload.pod.get("restartPolicy") or "Always"  # the API's default
    if policy != "Never":
        yield f"restartPolicy is {policy}, so the kubelet would restart k6 after its end; set it to Never"
    if any(each.get("restartPolicy", "Never") != "Never" or each.get("restartPolicyRules") for each in k6):
        yield "k6's container has a restartPolicy of its own, so the kubelet may start k6 again; remove it"
    others = [each for each in (*workload.containers, *(workload.pod.get("initContainers") or [])) if each not in k6]
    if restarting := [each["name"] for each in others if restarts_all(each)]:
        yield (
            f"container {', '.join(restarting)} has a restartPolicyRule that restarts all containers of the pod, and "
            "k6 with them; remove it"
        )
