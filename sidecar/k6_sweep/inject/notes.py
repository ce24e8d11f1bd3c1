"""The notes on a test that inject has served: what is added, and what its owner should know."""

from collections.abc import Iterator, Sequence
from typing import Any

from k6_sweep.inject.cleanup import Cleanup, Manifest
from k6_sweep.inject.meshes import of_meshes
from k6_sweep.inject.quotas import of_limits
from k6_sweep.inject.workload import Workload
from k6_sweep.settings.target import Target


def served(cleanup: Cleanup, target: Target | None, added: Sequence[Manifest]) -> str:
    """Return what inject has added to a workload, and the objects beside it."""
    if target:
        form = f"gets a separate watcher Job, which sweeps when all pods of {target} have ended"
    else:
        form = f"cleans up with {'a native sidecar' if cleanup.native else 'an ordinary container before k6'}"
    kinds = ", ".join(each["kind"] for each in added)
    return f"{form}; added before it: {kinds} {added[0]['metadata']['name']}" if added else form


def advice(workload: Workload, k6: Sequence[str], cleanup: Cleanup, manifests: Sequence[Any]) -> Iterator[str]:
    """Yield what the owner of a served workload should know or change."""
    if workload.retries_unasked:
        yield "backoffLimit is not set, so Kubernetes repeats a failed test up to six times: set it to 0"
    if workload.job.get("activeDeadlineSeconds") and not cleanup.settings.emit_event:
        yield (
            "activeDeadlineSeconds deletes the pods when it is over, and the termination message with them: with "
            "--emit-event, the counts are in an Event, too"
        )
    if workload.may_overlap:
        yield "several of its tests may run at once, and the last one out sweeps; concurrencyPolicy: Forbid avoids that"
    yield from of_limits(workload, k6, cleanup, manifests)
    if several := workload.several_k6(k6):
        yield (
            f"containers {', '.join(several)} run k6, and processes have no container names, so k6-sweep asks the API; "
            f"the sweep begins when these have ended: {', '.join(k6)}"
        )
    if workload.needs_watcher:
        return
    found = [workload.command(each) for each in k6]
    by_processes = cleanup.settings.detector != "kubernetes"
    if by_processes and found[0].guessed and "SWEEP_K6_PROCESS" not in cleanup.env:
        yield "the image does not show the name of k6's executable: if it is not k6, set --k6-process"
    if any(each.waits_first for each in found) and not cleanup.native and "SWEEP_START_TIMEOUT" not in cleanup.env:
        yield "its command waits before it starts k6; if that may take more than 300 s, set --start-timeout"
    url = cleanup.settings.redis_url
    yield from of_meshes(
        workload.pods, str(url.address.port) if url else "6379", ends_proxy=any(each.ends_proxy for each in found)
    )
    if cleanup.settings.run_as_user == "none":
        yield "--run-as-user none: on OpenShift, k6 and k6-sweep then run as the same user"
