"""The workload that runs k6 in a manifest: its pod, its Job and its k6 container."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from k6_sweep.inject.cleanup import OUR_CONTAINERS, OUR_VOLUMES, Manifest
from k6_sweep.inject.k6_command import K6Command, k6_command

PODS_AT: Final[Mapping[str, tuple[str, ...]]] = {
    "Pod": (),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "PodTemplate": ("template",),
    "TestRun": ("spec", "runner"),
}
BEFORE: Final = "k6-sweep/before"
"""The annotation that keeps the original fields of a workload, so that they can be restored; null means absent."""
TEST_LABEL: Final = "k6-sweep/test"
"""The label by which a watcher finds the test whose name it cannot know."""
_WORKFLOWS: Final = ("container", "script")
"""The fields of a workflow's template that hold its container, which is named main in the pod."""


@dataclass(frozen=True)
class PodsOf:
    """The pods that a workload creates, as far as it describes them."""

    spec: Manifest
    labels: dict[str, str]
    annotations: dict[str, str]


@dataclass(frozen=True)
class Workload:
    """A manifest that creates pods, or a part of one."""

    manifest: Manifest
    kind: str
    shape: str
    """The kind whose fields it has: a Job of an AnalysisTemplate has those of a Job."""
    owner: Manifest | None = None
    """The object that holds the manifest, if that is not an object itself."""

    @property
    def metadata(self) -> Manifest:
        """The metadata of the object."""
        return mapping((self.owner or self.manifest).get("metadata"))

    @property
    def annotations(self) -> dict[str, str]:
        """The annotations of the object."""
        return mapping(self.metadata.get("annotations"))

    @property
    def name(self) -> str:
        """Its name; empty if the API server must generate one."""
        return str(self.metadata.get("name") or "")

    @property
    def namespace(self) -> str | None:
        """The namespace in its metadata."""
        return self.metadata.get("namespace")

    @property
    def title(self) -> str:
        """Its kind and name for messages."""
        return f"{self.kind} {self.name or str(self.metadata.get('generateName', '(without a name)'))}"

    @property
    def is_test_run(self) -> bool:
        """Whether k6-operator creates its pods."""
        return self.shape == "TestRun"

    @property
    def is_injected(self) -> bool:
        """Whether an earlier inject has changed it: its annotation is there, or a part that k6-sweep adds."""
        if TEST_LABEL in {**mapping(mapping(self.manifest.get("metadata")).get("labels")), **self.pods.labels}:
            return True
        if self.creates_by_others:
            return False
        annotations = mapping(mapping(self.manifest.get("metadata")).get("annotations"))  # not the owner's
        parts = {"containers": OUR_CONTAINERS, "initContainers": OUR_CONTAINERS, "volumes": OUR_VOLUMES}
        return BEFORE in annotations or any(
            each.get("name") in ours for field, ours in parts.items() for each in self.pod.get(field) or []
        )

    @property
    def job(self) -> Manifest:
        """The Job's spec; empty for other kinds."""
        spec = mapping(self.manifest.get("spec"))
        if self.shape == "CronJob":
            return mapping(mapping(spec.get("jobTemplate")).get("spec"))
        return spec if self.shape == "Job" else {}

    @property
    def pod(self) -> Manifest:
        """The pod's spec."""
        return self.pods.spec

    @property
    def pods(self) -> PodsOf:
        """The pods that it creates."""
        place = self.manifest
        for step in PODS_AT.get(self.shape, ()):
            place = mapping(place.get(step))
        metadata = mapping(place.get("metadata"))
        spec = place if self.creates_by_others else mapping(place.get("spec"))
        if self.shape == "Workflow":
            spec = {**self.workflow, **spec}
        return PodsOf(spec, mapping(metadata.get("labels")), mapping(metadata.get("annotations")))

    @property
    def workflow(self) -> Manifest:
        """The spec of the workflow that it is a template of, which a CronWorkflow has one level deeper."""
        spec = mapping(mapping(self.owner).get("spec"))
        return mapping(spec.get("workflowSpec", spec))

    @property
    def labelled(self) -> list[Manifest]:
        """The parts whose metadata a watcher's label belongs to: a Job and its pods, or a workflow's pods."""
        if self.shape == "Workflow":
            return [self.manifest]
        template = self.job.get("template")
        return [self.manifest, template] if isinstance(template, dict) else []

    @property
    def creates_by_others(self) -> bool:
        """Whether a controller with rules of its own makes the pods, so that no sidecar can be added."""
        return self.shape in {"TestRun", "Workflow", "Task"}

    @property
    def containers(self) -> list[Manifest]:
        """The pod's containers without k6-sweep's own."""
        if self.shape == "Workflow":
            return [
                {**mapping(self.manifest.get(field)), "name": "main"} for field in _WORKFLOWS if field in self.manifest
            ]
        if self.shape == "Task":
            steps = mapping(self.manifest.get("spec")).get("steps") or []
            return [{**each, "name": f"step-{each.get('name', '')}"} for each in steps if isinstance(each, dict)]
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
        return (6 if limit is None else int(limit)) if self.shape in {"Job", "CronJob"} else 0

    @property
    def retries_unasked(self) -> bool:
        """Whether Kubernetes runs a failed test again by default, because the manifest sets no limit."""
        return bool(self.job) and self.job.get("backoffLimit") is None

    @property
    def may_overlap(self) -> bool:
        """Whether a test may begin before the previous one has been swept."""
        return self.kind == "CronJob" and mapping(self.manifest["spec"]).get("concurrencyPolicy", "Allow") != "Forbid"

    @property
    def needs_watcher(self) -> bool:
        """Whether the test may run in several pods."""
        return self.creates_by_others or self.pods_at_once != 1

    def k6(self, wanted: Sequence[str]) -> list[str]:
        """Return the names of the containers that run k6: those of these names, or those named or looking like k6."""
        names = [str(each.get("name")) for each in self.containers]
        if wanted:
            return [each for each in wanted if each in names]
        return [each for each in names if each == "k6" or each in self.like_k6]

    @property
    def like_k6(self) -> list[str]:
        """The names of the containers whose command or image shows k6."""
        return [str(each.get("name")) for each in self.containers if k6_command(each).runs_k6]

    def several_k6(self, found: Sequence[str]) -> list[str]:
        """Return the names of all containers that run k6, with those of `found`, if they are several; else none."""
        names = [*found, *(each for each in self.like_k6 if each not in found)]
        return names if len(names) > 1 else []

    @property
    def k6_first(self) -> list[str]:
        """The names of the init containers that run k6."""
        return [str(each.get("name")) for each in self.pod.get("initContainers") or [] if k6_command(each).runs_k6]

    def user(self, name: str) -> int | None:
        """Return the uid of a container's processes; None if the manifest does not show it."""
        containers = [each for each in self.containers if each.get("name") == name]
        given = [mapping(each.get("securityContext")).get("runAsUser") for each in (*containers, self.pod)]
        uid = next((each for each in given if each is not None), None)
        # Root may start k6 as another user, as entrypoints with gosu or su-exec do.
        return uid if type(uid) is int and uid else None

    def command(self, name: str) -> K6Command:
        """Return what is known of a container."""
        return k6_command(next((each for each in self.containers if each.get("name") == name), {}))


def mapping(value: Any) -> Manifest:
    """Return a value if it is a mapping; else an empty one."""
    return value if isinstance(value, dict) else {}
