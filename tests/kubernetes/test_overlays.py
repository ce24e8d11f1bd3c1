"""A watcher finds its Job under the name that kustomize gives it, and sweeps for no earlier Job."""

import io
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from k6_sweep.demo.servers import Node
from k6_sweep.inject.command import inject
from tests.kubernetes.apiserver import BINARY, why_no_apiserver
from tests.kubernetes.rig import RUNNING, Manifest, Namespace, Watchers, kept, pod, terminated
from tests.kubernetes.test_chart import kubectl
from tests.support import until

BASE = """\
apiVersion: batch/v1
kind: Job
metadata: {name: load}
spec:
  backoffLimit: 0
  parallelism: 2
  completions: 2
  template:
    metadata:
      labels: {team: perf}
    spec:
      restartPolicy: Never
      containers: [{name: k6, image: registry.corp/k6}]
"""
OPTIONS = ("--image", "mine/k6-sweep", "--redis-url", "redis://redis", "--pattern", "test:*", "--max-keys", "9")


@pytest.fixture
def overlay(namespace: Namespace, tmp_path: Path) -> str:
    """The output of kustomize for an overlay that changes names, on a base with an injected Job."""
    if reason := why_no_apiserver():
        pytest.skip(reason)
    base, over = tmp_path / "base", tmp_path / "over"
    for folder in (base, over):
        folder.mkdir()
    (base / "job.yaml").write_text(BASE)
    (base / "kustomization.yaml").write_text("resources: [job.yaml]\n")
    (over / "kustomization.yaml").write_text(
        f"resources: [../base]\nnamePrefix: a-\nnameSuffix: -b\nnamespace: {namespace.name}\n"
    )
    made = inject(["-f", str(base / "job.yaml"), "-n", namespace.name, *OPTIONS], {}, io.StringIO()).text
    (base / "job.yaml").write_text(made)
    return subprocess.check_output([BINARY.parent / "kubectl", "kustomize", over], text=True)


def test_all_names_change_together(overlay: str, namespace: Namespace) -> None:
    """After kustomize, Role, account and watcher still belong together, and the API server accepts them."""
    found: dict[str, Any] = {}
    for each in YAML(typ="safe").load_all(overlay):
        found[f"{each['kind']} {each['metadata']['name']}"] = each
    watcher, binding = found["Job a-load-sweep-b"], found["RoleBinding a-load-sweep-b"]
    pod_of = watcher["spec"]["template"]["spec"]
    assert "serviceAccountName" not in pod_of
    assert binding["roleRef"]["name"] == "a-load-sweep-b"
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "default", "namespace": namespace.name}]
    label = pod_of["containers"][0]["args"][-1].removeprefix("job-selector:")
    name, _, value = label.partition("=")
    test = found["Job a-load-b"]
    assert test["metadata"]["labels"][name] == test["spec"]["template"]["metadata"]["labels"][name] == value
    said = kubectl(namespace.api, "apply", "--dry-run=server", "--validate=strict", "-f", "-", given=overlay)
    assert said.count("created (server dry run)") == len(found)


LABELS = {"k6-sweep/test": "load"}


def job(name: str, namespace: Namespace) -> Manifest:
    """Create a Job with the label."""
    template = {"metadata": {"labels": LABELS}, "spec": pod("any")["spec"]}
    metadata = {"name": name, "labels": LABELS}
    made = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": template}}
    return namespace.create(made)


def pod_of(made: Manifest, namespace: Namespace) -> str:
    """Create a pod of a Job with a running k6."""
    name = f"{made['metadata']['name']}-pod"
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": made["metadata"]["name"], "uid": made["metadata"]["uid"]}
    found = pod(name, labels=LABELS, terminationGracePeriodSeconds=3)
    found["metadata"]["ownerReferences"] = [{**owner, "controller": True}]
    namespace.create(found)
    namespace.k6_is(name, RUNNING)
    return name


def complete(name: str, namespace: Namespace) -> None:
    """Set a Job's condition Complete."""
    moment = "2026-11-22T07:06:00Z"
    conditions = [
        {"type": kind, "status": "True", "lastTransitionTime": moment} for kind in ("SuccessCriteriaMet", "Complete")
    ]
    status = {"startTime": moment, "completionTime": moment, "succeeded": 1, "conditions": conditions}
    namespace.status("Job", name, {**status, "uncountedTerminatedPods": {}})


def test_it_sweeps_after_its_own_job(namespace: Namespace, watchers: Watchers, redis_node: Node) -> None:
    """The watcher of a label waits for the Job that comes, although a Job of an earlier test is over."""
    job("load-old", namespace)
    complete("load-old", namespace)
    jobs = {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["list", "watch"]}
    pods = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}
    account = namespace.account([jobs, pods])
    watcher = watchers.start(account, "--target", "job-selector:k6-sweep/test=load")
    assert watcher.still_waits()
    assert kept(redis_node)
    running = pod_of(job("load-new", namespace), namespace)
    until(lambda: watcher.says("k6 is running"))
    assert watcher.still_waits()
    assert kept(redis_node)
    namespace.k6_is(running, terminated(99), phase="Failed")
    complete("load-new", namespace)
    report = watcher.report()
    assert (report["status"], report["deleted"]) == ("complete", 1)
    assert report["k6"]["ended"]
