"""The workload that runs k6 in a manifest: its pod, its k6 container, and the reasons against a sidecar."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from k6_sweep.errors import RefusedError
from k6_sweep.inject.cleanup import OUR_CONTAINERS, OUR_VOLUMES, USER, Cleanup, Manifest, beside
from k6_sweep.kube.roles import JOBS, TEST_RUNS, Resource
from k6_sweep.sweep.guard import check_namespace

_POD_AT: Final[Mapping[str, tuple[str, ...]]] = {
    "Pod": (),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
}
BEFORE: Final = "k6-sweep/before"
"""The annotation that keeps the original fields of a workload, so that they can be restored; null means absent."""
_LONGEST_JOB_NAME: Final = 63
"""Characters: the Job controller puts the name into a label of the pods."""
_THAT_END: Final = frozenset({"Pod", "Job", "CronJob"})


@dataclass(frozen=True)
class Workload:
    """A manifest that creates pods, or a TestRun."""

    manifest: Manifest
    kind: str

    @property
    def name(self) -> str:
        """Its name; empty if the API server must generate one."""
        return str(_mapping(self.manifest.get("metadata")).get("name") or "")

    @property
    def namespace(self) -> str | None:
        """The namespace in its metadata."""
        return _mapping(self.manifest.get("metadata")).get("namespace")

    @property
    def title(self) -> str:
        """Its kind and name for messages."""
        metadata = _mapping(self.manifest.get("metadata"))
        return f"{self.kind} {self.name or str(metadata.get('generateName', '(without a name)'))}"

    @property
    def is_test_run(self) -> bool:
        """Whether k6-operator creates its pods."""
        return self.kind == "TestRun"

    @property
    def is_injected(self) -> bool:
        """Whether an earlier inject has changed it: its annotation is there, or a part that k6-sweep adds."""
        if self.is_test_run:
            return False
        annotations = _mapping(_mapping(self.manifest.get("metadata")).get("annotations"))
        parts = {"containers": OUR_CONTAINERS, "initContainers": OUR_CONTAINERS, "volumes": OUR_VOLUMES}
        return BEFORE in annotations or any(
            each.get("name") in ours for field, ours in parts.items() for each in self.pod.get(field) or []
        )

    @property
    def job(self) -> Manifest:
        """The Job's spec; empty for other kinds."""
        spec = _mapping(self.manifest.get("spec"))
        if self.kind == "CronJob":
            return _mapping(_mapping(spec.get("jobTemplate")).get("spec"))
        return spec if self.kind == "Job" else {}

    @property
    def pod(self) -> Manifest:
        """The pod's spec."""
        place = self.manifest
        for step in _POD_AT[self.kind]:
            place = _mapping(place.get(step))
        return _mapping(place.get("spec"))

    @property
    def containers(self) -> list[Manifest]:
        """The pod's containers without k6-sweep's own."""
        return [each for each in self.pod.get("containers") or [] if each.get("name") not in OUR_CONTAINERS]

    @property
    def pods_at_once(self) -> int:
        """Number of pods that run the test at the same time."""
        parallelism = self.job.get("parallelism")
        return 1 if parallelism is None else int(parallelism)

    @property
    def backoff_limit(self) -> int:
        """How often the Job replaces a failed pod."""
        limit = self.job.get("backoffLimit")
        return (6 if limit is None else int(limit)) if self.kind in {"Job", "CronJob"} else 0

    @property
    def retries_unasked(self) -> bool:
        """Whether Kubernetes runs a failed test again by default, because the manifest sets no limit."""
        return bool(self.job) and self.job.get("backoffLimit") is None

    @property
    def may_overlap(self) -> bool:
        """Whether a test may begin before the previous one has been swept."""
        return self.kind == "CronJob" and _mapping(self.manifest["spec"]).get("concurrencyPolicy", "Allow") == "Allow"

    @property
    def needs_watcher(self) -> Resource | None:
        """The resource to wait for, if the test may run in several pods; else None."""
        if self.is_test_run:
            return TEST_RUNS
        return JOBS if self.pods_at_once != 1 else None

    def k6(self, wanted: str, *, by_image: bool = True) -> list[str]:
        """Return the names of the containers that run k6: the one of this name, or those whose image is named k6."""
        names = [str(each.get("name")) for each in self.containers]
        if wanted in names:
            return [wanted]
        if not by_image:
            return []
        images = {str(each.get("name")): str(each.get("image", "")) for each in self.containers}
        return [name for name, image in images.items() if _image_name(image) == "k6"]


def workloads(manifest: Any) -> Iterator[Workload]:
    """Yield the workloads of a manifest, or of a List of manifests."""
    if not isinstance(manifest, dict):
        return
    kind, version = str(manifest.get("kind", "")), str(manifest.get("apiVersion", ""))
    if kind.endswith("List"):
        for item in manifest.get("items") or []:
            yield from workloads(item)
    elif kind in _POD_AT or (kind == "TestRun" and version.startswith("k6.io/")):
        yield Workload(manifest, kind)


def malformations(workload: Workload) -> Iterator[str]:
    """Yield the malformed fields, which the API server would refuse and `inject` cannot process."""
    metadata = workload.manifest.get("metadata")
    if not isinstance(metadata, dict) or not (metadata.get("name") or metadata.get("generateName")):
        yield "metadata must be a mapping with a name"
    elif not isinstance(metadata.get("annotations") or {}, dict):
        yield "metadata.annotations must be a mapping"
    elif not _is_record((metadata.get("annotations") or {}).get(BEFORE, "{}")):
        yield f"the annotation {BEFORE} was changed after inject wrote it; remove it and what inject added"
    if workload.is_test_run:
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


def reasons_against(workload: Workload, cleanup: Cleanup, namespace: str | None) -> Iterator[str]:
    """Yield the reasons why k6-sweep cannot be added to a workload that runs k6."""
    if not workload.is_test_run and workload.kind not in _THAT_END:
        yield f"a {workload.kind} restarts k6 whenever it ends, so the test never ends; run it as a Job"
        return
    if not workload.is_test_run:
        yield from _pod_reasons(workload, cleanup)
    if workload.needs_watcher:
        yield from _watcher_reasons(workload, cleanup)
    yield from _place_reasons(workload, cleanup, namespace)


def _watcher_reasons(workload: Workload, cleanup: Cleanup) -> Iterator[str]:
    if not workload.name or workload.kind == "CronJob":
        yield (
            f"it runs {workload.pods_at_once} pods at once and needs a watcher, which must know the Job's name; set "
            "metadata.name, set parallelism to 1, or use a TestRun"
        )
    if len(beside(workload.name)) > _LONGEST_JOB_NAME:
        yield f"its watcher's name {beside(workload.name)} would be longer than 63 characters; shorten metadata.name"
    for flag in ("preflight", "only_new", "fail_job"):
        if getattr(cleanup.settings, flag):
            yield f"--{flag.replace('_', '-')} needs a sidecar, but a test in several pods gets a watcher; remove it"


def _place_reasons(workload: Workload, cleanup: Cleanup, namespace: str | None) -> Iterator[str]:
    if namespace:
        try:
            # In the pod, k6-sweep would refuse this as well, but only once the test has started.
            check_namespace(cleanup.settings.allowed_namespace, namespace)
        except RefusedError as error:
            yield str(error)
    if not cleanup.rules(workload.needs_watcher, ""):
        return
    if not workload.name and not workload.needs_watcher:
        yield "metadata.name is required: the service account and Role take their names from it"
    if not namespace:
        yield "metadata.namespace is missing, but the Role needs a namespace; set --namespace"


def _pod_reasons(workload: Workload, cleanup: Cleanup) -> Iterator[str]:
    pod, settings = workload.pod, cleanup.settings
    # The API's default.
    policy = pod.get("restartPolicy") or "Always"
    if policy != "Never":
        yield f"restartPolicy is {policy}, so the kubelet would restart k6 after its end; set it to Never"
    if len(found := workload.k6(settings.k6_container)) > 1:
        yield f"containers {', '.join(found)} look like k6; set --k6-container to one of them"
    if workload.needs_watcher:
        return
    if settings.fail_job and workload.backoff_limit:
        yield (
            f"--fail-job with backoffLimit {workload.backoff_limit} would run the load test again after a failed "
            "sweep; set backoffLimit to 0"
        )
    if settings.detector != "kubernetes" and pod.get("shareProcessNamespace") is False:
        yield "shareProcessNamespace is false, so k6-sweep cannot see k6; remove it, or set --detector kubernetes"
    if settings.detector != "kubernetes" and pod.get("hostPID"):
        yield "hostPID makes the k6 of other pods visible; remove it, or set --detector kubernetes"
    contexts = [pod, *(each for each in workload.containers if each["name"] in found)]
    if USER in [_mapping(each.get("securityContext")).get("runAsUser") for each in contexts]:
        yield f"k6 runs as user {USER}, k6-sweep's own, and could read its password; set another runAsUser for k6"


def _mapping(value: Any) -> Manifest:
    return value if isinstance(value, dict) else {}


def _image_name(image: str) -> str:
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]
