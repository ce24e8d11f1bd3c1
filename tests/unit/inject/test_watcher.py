"""A watcher runs where the pods of its test run, comes with them, and finds its Job under any name."""

import io
import json
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from ruamel.yaml import YAML

from k6_sweep.inject.command import inject
from tests.unit.inject.test_inject import WANTED, job, out, refusal, run

PLACED: dict[str, Any] = {
    "imagePullSecrets": [{"name": "corp"}],
    "nodeSelector": {"pool": "load"},
    "tolerations": [{"key": "load", "operator": "Exists"}],
    "priorityClassName": "low",
}
HOOK = {"argocd.argoproj.io/hook": "PostSync", "argocd.argoproj.io/hook-delete-policy": "BeforeHookCreation"}


def with_metadata(text: str, of_pods: dict[str, Any] | None = None, **annotations: str) -> str:
    manifest = json.loads(text)
    manifest["metadata"]["annotations"] = annotations
    manifest["spec"]["template"]["metadata"] = of_pods or {}
    return json.dumps(manifest)


def pod_of(watcher: Any) -> Any:
    return watcher["spec"]["template"]["spec"]


def test_it_runs_where_the_test_runs() -> None:
    """The watcher has what its test's pods need to be pulled, placed and admitted; not their affinity to each other."""
    nodes: dict[str, Any] = {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": []}]}
    }
    apart = [{"topologyKey": "host", "labelSelector": {"matchLabels": {"app": "k6"}}}]
    affinity = {"nodeAffinity": nodes, "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": apart}}
    metadata = {
        "labels": {"team": "perf", "app": "k6", "job-name": "x"},
        "annotations": {"sidecar.istio.io/inject": "false", "other": "x"},
    }
    *_, watcher, _ = out(with_metadata(job(parallelism=3, pod={**PLACED, "affinity": affinity}), metadata))
    pod = pod_of(watcher)
    assert {name: pod[name] for name in PLACED} == PLACED
    assert pod["affinity"] == {"nodeAffinity": nodes}
    template = watcher["spec"]["template"]["metadata"]
    assert template["annotations"] == {"sidecar.istio.io/inject": "false"}
    assert template["labels"].items() >= {"team": "perf", "app.kubernetes.io/name": "k6-sweep"}.items()
    assert not template["labels"].keys() & {"app", "job-name"}


@pytest.mark.parametrize("version", ["1.27", "1.37"])
def test_a_drain_does_not_count(version: str) -> None:
    """The watcher's Job starts another one after each drain of its node; another failure counts."""
    *_, watcher, _ = out(job(parallelism=3), "--kube-version", version)
    condition = {"type": "DisruptionTarget", "status": "True"}
    assert watcher["spec"]["podFailurePolicy"] == {"rules": [{"action": "Ignore", "onPodConditions": [condition]}]}
    assert watcher["spec"]["backoffLimit"] == 3
    kubernetes_validate.validate(watcher, version, strict=True)


def test_the_runner_of_a_test_run_is_followed() -> None:
    """The watcher of a TestRun runs where its runners run."""
    runner = {**PLACED, "metadata": {"labels": {"team": "perf"}}}
    run = {"apiVersion": "k6.io/v1alpha1", "kind": "TestRun", "metadata": {"name": "t", "namespace": "load"}}
    *_, watcher, _ = out(json.dumps({**run, "spec": {"parallelism": 2, "runner": runner}}))
    assert {name: pod_of(watcher)[name] for name in PLACED} == PLACED
    assert watcher["spec"]["template"]["metadata"]["labels"]["team"] == "perf"


def test_hooks_of_argo_cd() -> None:
    """The watcher is the same hook in the same wave, and its Role comes in the same phase and wave, before it."""
    wave = {"argocd.argoproj.io/sync-wave": "5"}
    *permissions, watcher, _ = out(with_metadata(job(parallelism=2), None, **HOOK, **wave))
    assert watcher["metadata"]["annotations"] == {**HOOK, **wave}
    for each in permissions:
        assert each["metadata"]["annotations"] == {"argocd.argoproj.io/hook": "PostSync", **wave}


def test_a_presync_hook_that_creates_events() -> None:
    """The Role of a PreSync hook with --emit-event is a PreSync hook too, and comes before it."""
    *permissions, test = out(with_metadata(job(), None, **{"argocd.argoproj.io/hook": "PreSync"}), "--emit-event")
    assert [each["kind"] for each in permissions] == ["Role", "RoleBinding"]
    assert {each["metadata"]["annotations"]["argocd.argoproj.io/hook"] for each in (*permissions, test)} == {"PreSync"}


def test_hooks_of_helm() -> None:
    """A Role comes before its hook; a watcher of a hook is refused, because Helm waits for each hook by itself."""
    hook = {"helm.sh/hook": "post-install,post-upgrade", "helm.sh/hook-weight": "3"}
    *permissions, _ = out(with_metadata(job(), None, **hook), "--emit-event")
    assert {each["metadata"]["annotations"]["helm.sh/hook-weight"] for each in permissions} == {"2"}
    assert "Helm creates hooks one after the other" in refusal(with_metadata(job(parallelism=2), None, **hook))


@pytest.mark.parametrize("name", ["kustomization.yaml", "kustomization.yml", "Kustomization"])
def test_kustomize_may_change_the_name(name: str, tmp_path: Path) -> None:
    """Beside a kustomization, the watcher finds its Job by a label, which --uninject removes."""
    text = job(parallelism=3)
    (tmp_path / "job.json").write_text(text)
    (tmp_path / name).write_text("resources: [job.json]\n")
    made = inject(["-f", str(tmp_path / "job.json"), *WANTED], {}, io.StringIO()).text
    role, _, watcher, test = YAML(typ="safe").load_all(made)
    assert pod_of(watcher)["containers"][0]["args"] == ["watch", "--target", "job-selector:k6-sweep/test=load-test"]
    assert "resourceNames" not in role["rules"][0]
    assert test["metadata"]["labels"] == {"k6-sweep/test": "load-test"}
    assert test["spec"]["template"]["metadata"]["labels"] == {"k6-sweep/test": "load-test"}
    assert "k6-sweep/test" not in watcher["spec"]["template"]["metadata"]["labels"]
    (tmp_path / "job.json").write_text(made)
    assert inject(["--uninject", "-f", str(tmp_path / "job.json")], {}, io.StringIO()).text == text


def test_elsewhere_it_is_found_by_its_name() -> None:
    """Without a kustomization, the watcher finds its Job by its name, and the Job is unchanged."""
    assert re.search(r"--target, job/load-test", run(job(parallelism=3)).text)
    assert run(job(parallelism=3)).text.endswith(job(parallelism=3))
