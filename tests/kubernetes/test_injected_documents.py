"""The Roles in the docs are sufficient and minimal, and the API server accepts the examples."""

import copy
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from k6_sweep.demo.servers import Node
from tests.chart.helm import pod_specs
from tests.kubernetes.apiserver import KubeApi, place
from tests.kubernetes.rig import RUNNING, Manifest, Namespace, Watchers, pod, terminated
from tests.kubernetes.test_chart import kubectl
from tests.support import until

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs" / "kubernetes.md").read_text(), re.MULTILINE | re.DOTALL)
ROLES: dict[str, Manifest] = {
    each["metadata"]["name"]: each for each in map(YAML(typ="safe").load, BLOCKS) if each.get("kind") == "Role"
}
TARGETS = {
    "own pod": ("k6-sweep-pod", ("--detector", "kubernetes")),
    "pod": ("k6-sweep-pod", ("--target", "pod/load-test")),
    "selector": ("k6-sweep-pod", ("--target", "selector:k6_cr=load-test")),
    "job": ("k6-sweep-job", ("--target", "job/load-test")),
    "testrun": ("k6-sweep-testrun", ("--target", "testrun/load-test")),
}


def make_everything(namespace: Namespace) -> None:
    """Create a Job, a TestRun and a pod that belongs to both, with a running k6."""
    labels = {"job-name": "load-test", "k6_cr": "load-test", "runner": "true"}
    template = {"spec": pod("any")["spec"]}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "load-test"}, "spec": {"template": template}}
    uid = namespace.create(job)["metadata"]["uid"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "load-test", "uid": uid, "controller": True}
    made = pod("load-test", labels=labels)
    made["metadata"]["ownerReferences"] = [owner]
    namespace.create(made)
    namespace.create(
        {
            "apiVersion": "k6.io/v1alpha1",
            "kind": "TestRun",
            "metadata": {"name": "load-test"},
            "spec": {"parallelism": 1, "script": {"configMap": {"name": "test"}}},
        }
    )
    namespace.status("TestRun", "load-test", {"stage": "finished"})
    namespace.k6_is("load-test", RUNNING)


@pytest.mark.usefixtures("test_runs")
@pytest.mark.parametrize(("role", "options"), TARGETS.values(), ids=TARGETS.keys())
def test_the_documented_role_is_enough(
    role: str, options: tuple[str, ...], namespace: Namespace, watchers: Watchers, redis_node: Node
) -> None:
    """With exactly the Role of the docs the watcher sees k6's end and sweeps."""
    make_everything(namespace)
    account = namespace.account(ROLES[role]["rules"])
    watcher = watchers.start(account, *options, pod_name="load-test")
    until(lambda: watcher.says("k6 is running"))
    namespace.k6_is("load-test", terminated(0), phase="Succeeded")
    report = watcher.report()
    assert (report["status"], report["deleted"]) == ("complete", 1)
    assert redis_node.ask("KEYS", "*") == [b"user:1"]


def less(rules: list[Manifest]) -> Iterator[tuple[str, str, list[Manifest]]]:
    """Yield, for each verb of the rules, the resource, the verb, and the rules without it."""
    for number, rule in enumerate(rules):
        for verb in rule["verbs"]:
            left = copy.deepcopy(rules)
            left[number]["verbs"].remove(verb)
            if not left[number]["verbs"]:
                del left[number]
            yield rule["resources"][0], verb, left


@pytest.mark.usefixtures("test_runs")
@pytest.mark.parametrize(("role", "options"), TARGETS.values(), ids=TARGETS.keys())
def test_with_less_it_fails_and_names_the_missing_rule(
    role: str, options: tuple[str, ...], namespace: Namespace, watchers: Watchers, redis_node: Node
) -> None:
    """Without any verb of the Role the error names the verb, the resource and the missing rule."""
    namespace.create(pod("load-test"))
    for resource, verb, rules in less(ROLES[role]["rules"]):
        account = namespace.account(rules)
        watcher = watchers.start(account, *options, pod_name="load-test")
        report = watcher.report()
        assert (report["status"], watcher.process.returncode) == ("error", 2)
        assert (
            f"the service account is not allowed to {verb} {resource} in namespace {namespace.name}"
            in report["errors"][0]
        )
        assert f'resources: ["{resource}"], verbs: [list, watch]' in report["errors"][0]
    assert redis_node.ask("EXISTS", "test:1") == 1


def documents() -> Iterator[tuple[str, Manifest]]:
    for path in sorted(ROOT.glob("examples/*.yaml")):
        for manifest in YAML(typ="safe").load_all(path):
            yield f"{path.stem}-{manifest['kind']}-{manifest['metadata']['name']}", manifest


DOCUMENTS = dict(documents())


@pytest.mark.usefixtures("test_runs")
@pytest.mark.parametrize("manifest", DOCUMENTS.values(), ids=DOCUMENTS.keys())
def test_an_example_is_what_the_api_takes(manifest: Manifest, restricted: KubeApi) -> None:
    """The API server accepts each manifest of the examples unchanged, and Pod Security `restricted` its pods."""
    where = place(manifest, manifest["metadata"]["namespace"])
    made = restricted.ask("POST", f"{where}?dryRun=All&fieldValidation=Strict", manifest)
    assert made["metadata"]["uid"]
    for name, spec in pod_specs([manifest]):
        if name != "queue-load-test" or len(spec["containers"]) == 1:  # not the one that is written by hand
            alone = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"{name}-pod"}, "spec": spec}
            path = "/api/v1/namespaces/load-test/pods?dryRun=All"
            assert restricted.ask("POST", path, alone)["metadata"]["uid"]


PAGE = (ROOT / "docs" / "four-ways.md").read_text()
FOUR_WAYS = re.findall(r"^```yaml\n(apiVersion.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(3), ids=["sidecar", "teardown", "cleanup Job"])
def test_the_four_ways_can_be_pasted(number: int, restricted: KubeApi) -> None:
    """kubectl accepts the page's manifests unchanged, and Pod Security accepts their pods."""
    said = kubectl(restricted, "create", "--dry-run=server", "--validate=strict", "-f", "-", given=FOUR_WAYS[number])
    assert "created (server dry run)" in said
    spec = YAML(typ="safe").load(FOUR_WAYS[number])["spec"]["template"]["spec"]
    restricted.ask(
        "POST",
        "/api/v1/namespaces/load-test/pods?dryRun=All&fieldValidation=Strict",
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pasted"}, "spec": spec},
    )
