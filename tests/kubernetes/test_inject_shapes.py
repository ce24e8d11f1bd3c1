"""A real API server accepts inject's output exactly where it accepts its input."""

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from ruamel.yaml import YAML

from k6_sweep.inject.command import inject
from tests.kubernetes.apiserver import RefusedByServerError, place
from tests.kubernetes.rig import Manifest, Namespace

OPTIONS = ("--image", "mine/k6-sweep", "--redis-url", "redis://redis", "--pattern", "test:*", "--max-keys", "9")
K6: Manifest = {"name": "k6", "image": "grafana/k6", "args": ["run", "/scripts/test.js"]}
LIMITED: Manifest = {"cpu": "1", "memory": "1Gi"}


def job(pod: Manifest | None = None, **spec: object) -> Manifest:
    template = {"spec": {"restartPolicy": "Never", "containers": [K6], **(pod or {})}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "load"},
        "spec": {"backoffLimit": 0, "template": template, **spec},
    }


def shapes() -> Iterator[tuple[str, Manifest, tuple[str, ...]]]:
    yield "job", job(), ()
    yield "several pods", job(parallelism=3, completions=3), ()
    yield "placed", job({"nodeSelector": {"a": "b"}, "tolerations": [{"operator": "Exists"}]}, parallelism=2), ()
    yield "with an event", job(), ("--emit-event",)
    yield "by the API", job({"automountServiceAccountToken": False}), ("--detector", "kubernetes")
    yield "ordinary", job(), ("--kube-version", "1.28")
    yield "empty lists", job({"initContainers": [], "volumes": []}), ("--only-new", "--preflight")
    yield "no user", job(), ("--run-as-user", "none")
    yield "a strange key", job({"hostname": "\U0001f600"}), ()
    yield "no such field", job({"restartpolicy": "x"}), ()
    template = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "load"}}
    yield "pod template", {**template, "template": {"spec": job()["spec"]["template"]["spec"]}}, ()
    cron = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "load"}}
    yield "cron", {**cron, "spec": {"schedule": "@daily", "jobTemplate": {"spec": job()["spec"]}}}, ()


SHAPES = {name: (manifest, options) for name, manifest, options in shapes()}


def accepted(namespace: Namespace, manifest: Any) -> bool:
    try:
        namespace.api.ask("POST", f"{place(manifest, namespace.name)}?dryRun=All&fieldValidation=Strict", manifest)
    except RefusedByServerError:
        return False
    return True


def injected(manifest: Manifest, namespace: Namespace, *options: str) -> list[Any]:
    text = io.StringIO()
    YAML(typ="safe").dump(manifest, text)
    made = inject(["-f", "-", "-n", namespace.name, *OPTIONS, *options], {}, io.StringIO(text.getvalue())).text
    return list(YAML(typ="safe").load_all(made))


@pytest.mark.parametrize(("manifest", "options"), SHAPES.values(), ids=SHAPES.keys())
def test_the_output_is_as_good_as_the_input(manifest: Manifest, options: tuple[str, ...], namespace: Namespace) -> None:
    """The API server accepts the test after inject exactly if it did before, and always what comes with it."""
    *beside, test = injected(manifest, namespace, *options)
    assert accepted(namespace, test) == accepted(namespace, manifest)
    assert all(accepted(namespace, each) for each in beside)


def test_a_quota_is_satisfied(namespace: Namespace) -> None:
    """In a namespace with a quota on CPU limits and a smallest request, the pod is admitted with the noted options."""
    hard = {"limits.cpu": "8", "limits.memory": "16Gi", "requests.cpu": "8", "requests.memory": "16Gi"}
    metadata = {"name": "q"}
    namespace.create({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {"hard": hard}})
    namespace.status("ResourceQuota", "q", {"hard": hard, "used": dict.fromkeys(hard, "0")})
    ranges = [{"type": "Container", "min": {"memory": "64Mi", "cpu": "50m"}, "max": {"memory": "2Gi", "cpu": "2"}}]
    namespace.create({"apiVersion": "v1", "kind": "LimitRange", "metadata": metadata, "spec": {"limits": ranges}})
    containers = [{**K6, "resources": {"requests": LIMITED, "limits": LIMITED}}]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "load"}, "spec": {"restartPolicy": "Never"}}
    pod["spec"] = {"restartPolicy": "Never", "containers": containers}
    assert accepted(namespace, pod)
    (refused,) = injected(pod, namespace)
    with pytest.raises(RefusedByServerError, match=r"minimum cpu usage per Container is 50m|must specify limits"):
        namespace.create(json.loads(json.dumps(refused)))
    (made,) = injected(pod, namespace, "--requests", "cpu=50m,memory=64Mi", "--limits", "cpu=500m")
    assert accepted(namespace, made)
