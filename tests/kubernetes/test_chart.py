"""A real API server with the strictest Pod Security accepts the chart's objects, and the NOTES are correct."""

import io
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from k6_sweep.inject.command import inject
from tests.chart.helm import BINARIES, CHART, ROOT, SCENARIOS, pod_specs, render, run_helm, why_no_helm
from tests.kubernetes.apiserver import ADMIN, KubeApi
from tests.kubernetes.rig import Manifest, Namespace, pod

MESSAGE = json.dumps({"status": "complete", "deleted": 699803})
HERE = ("--set", "cleanup.guards.allowedNamespaces={test-*}")
"""Accepts the namespaces of these tests, in place of the scenarios' own."""
OF_NATIVE_SIDECARS = ("guide", "preserve-existing", "kubernetes-detector")


@pytest.fixture(autouse=True)
def _helm() -> None:
    if reason := why_no_helm():
        pytest.skip(reason)


def kubectl(api: KubeApi, *arguments: str, given: str | None = None) -> str:
    """Run kubectl as the administrator."""
    access = ("--server", f"https://127.0.0.1:{api.port}", "--certificate-authority", api.folder / "authority.pem")
    done = subprocess.run(
        [ROOT / ".tools" / "kubectl", *access, "--token", ADMIN, *arguments],
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr
    return done.stdout


def helm(api: KubeApi, binary: str, *arguments: str) -> str:
    """Run Helm as the administrator."""
    access = ("--kube-apiserver", f"https://127.0.0.1:{api.port}", "--kube-ca-file", str(api.folder / "authority.pem"))
    return run_helm(binary, *arguments, *access, "--kube-token", ADMIN)


def as_text(manifests: list[Manifest]) -> str:
    text = io.StringIO()
    YAML(typ="safe").dump_all(manifests, text)
    return text.getvalue()


@pytest.mark.usefixtures("test_runs", "monitoring_kinds")
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.stem)
def test_the_server_takes_it(scenario: Path, restricted: KubeApi) -> None:
    """The API server accepts all objects, and every pod separately, because Pod Security checks only pods."""
    found = render(scenario).manifests
    wanted = ("apply", "--server-side", "--dry-run=server", "--validate=strict", "-n", "load-test", "-f", "-")
    said = kubectl(restricted, *wanted, given=as_text(found))
    assert said.count("serverside-applied") == len(found)
    for name, spec in pod_specs(found):
        alone = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"{name}-pod"}, "spec": spec}
        assert "created" in kubectl(
            restricted, "create", "--dry-run=server", "-n", "load-test", "-f", "-", given=as_text([alone])
        )


def test_inject_to_kubectl(restricted: KubeApi) -> None:
    """kubectl accepts inject's output, with the other objects in it."""
    for name in ("off", "distributed"):
        found = [each for each in render(CHART / "ci" / f"{name}-values.yaml").manifests if each["kind"] == "Job"][:1]
        options = (
            "--image",
            "mine",
            "--redis-url",
            "redis://redis",
            "--pattern",
            "test:*",
            "--no-guard",
            "--emit-event",
        )
        injected = inject(["-f", "-", *options], {}, io.StringIO(as_text(found))).text
        said = kubectl(restricted, "apply", "--dry-run=server", "--validate=strict", "-f", "-", given=injected)
        assert said.count("created") == len(list(YAML(typ="safe").load_all(injected)))


def ended_pod(namespace: Namespace, job: Manifest, telling: str = "k6-sweep", after: str = "") -> None:
    """Run the Job's pod to its end, as the Job's controller and the kubelet do; one container has a message.

    With `after`, this container was restarted: the message is of the run before, and `after` is the last one.
    """
    name, spec = job["metadata"]["name"], job["spec"]["template"]["spec"]
    ours, theirs = spec.get("initContainers", []), spec["containers"]
    made = pod(name, labels={**job["spec"]["template"]["metadata"]["labels"], "job-name": name}, containers=[])
    made["spec"] |= {"initContainers": ours, "containers": theirs, "volumes": spec.get("volumes", [])}
    namespace.create(made)

    def ended(container: Manifest) -> Manifest:
        message = MESSAGE if container["name"] == telling else ""
        state = {"terminated": {"exitCode": 0, "reason": "Completed", "message": message}}
        told = {"name": container["name"], "image": "x", "imageID": "", "ready": False, "restartCount": 0}
        if message and after:
            return {**told, "state": {"terminated": {"exitCode": 137, "message": after}}, "lastState": state}
        return {**told, "state": state}

    status = {"initContainerStatuses": [*map(ended, ours)], "containerStatuses": [*map(ended, theirs)]}
    namespace.status("Pod", name, {"phase": "Succeeded", **status})


@pytest.mark.parametrize("binary", BINARIES)
@pytest.mark.parametrize(
    "scenario", [*OF_NATIVE_SIDECARS, "ordinary", "fail-job", "distributed", "cleanup-job", "cron"]
)
def test_the_notes_show_the_counts(scenario: str, binary: str, namespace: Namespace) -> None:
    """After an install by a real Helm, the command in the NOTES shows the termination message."""
    values = ("--values", str(CHART / "ci" / f"{scenario}-values.yaml"), *HERE)
    notes = helm(namespace.api, binary, "install", "nightly", str(CHART), "-n", namespace.name, *values)
    made = json.loads(kubectl(namespace.api, "-n", namespace.name, "get", "jobs,cronjobs", "-o", "json"))["items"]
    for job in made:
        template = job["spec"]["jobTemplate"] if job["kind"] == "CronJob" else job
        ended_pod(namespace, {"metadata": job["metadata"], "spec": template["spec"]})
    (command,) = re.findall(r"^ *kubectl (.*terminated\.message.*)$", notes, re.MULTILINE)
    assert f"k6-sweep: {MESSAGE}\n" in kubectl(namespace.api, *shlex.split(command))
    helm(namespace.api, binary, "uninstall", "nightly", "-n", namespace.name)
    assert "No resources found" not in notes
    left = kubectl(namespace.api, "-n", namespace.name, "get", "roles,rolebindings,networkpolicies", "-o", "name")
    assert left == ""


def test_the_notes_show_why_k6_did_not_start(namespace: Namespace) -> None:
    """The same command shows the message of a preflight that failed."""
    values = ("--values", str(CHART / "ci" / "preserve-existing-values.yaml"))
    notes = helm(namespace.api, "helm4", "install", "nightly", str(CHART), "-n", namespace.name, *values)
    (job,) = json.loads(kubectl(namespace.api, "-n", namespace.name, "get", "jobs", "-o", "json"))["items"]
    ended_pod(namespace, {"metadata": job["metadata"], "spec": job["spec"]}, telling="k6-sweep-check")
    (command,) = re.findall(r"^ *kubectl (.*terminated\.message.*)$", notes, re.MULTILINE)
    assert f"k6-sweep-check: {MESSAGE}\n" in kubectl(namespace.api, *shlex.split(command))


def test_the_notes_show_why_a_sidecar_was_restarted(namespace: Namespace) -> None:
    """The same command shows the message of the run before, behind the kubelet's own text."""
    values = ("--values", str(CHART / "ci" / "guide-values.yaml"), *HERE)
    notes = helm(namespace.api, "helm4", "install", "nightly", str(CHART), "-n", namespace.name, *values)
    (job,) = json.loads(kubectl(namespace.api, "-n", namespace.name, "get", "jobs", "-o", "json"))["items"]
    ended_pod(namespace, {"metadata": job["metadata"], "spec": job["spec"]}, after="The container could not be located")
    (command,) = re.findall(r"^ *kubectl (.*terminated\.message.*)$", notes, re.MULTILINE)
    shown = kubectl(namespace.api, *shlex.split(command))
    assert f"k6-sweep: The container could not be located {MESSAGE}\n" in shown


@pytest.mark.parametrize("binary", BINARIES)
def test_the_notes_say_what_is_missing(binary: str, namespace: Namespace) -> None:
    """Without the toggle the NOTES warn that no cleanup follows the test."""
    values = ("--values", str(CHART / "ci" / "off-values.yaml"))
    notes = helm(namespace.api, binary, "install", "off", str(CHART), "-n", namespace.name, *values)
    assert "Nothing cleans up after this test" in notes


@pytest.mark.parametrize("binary", BINARIES)
@pytest.mark.parametrize("page", ["README.md", "charts/k6-sweep/README.md"])
def test_the_readmes_helm_line(page: str, binary: str, restricted: KubeApi, tmp_path: Path) -> None:
    """The README's `helm install` works as written, with its values, in both Helms."""
    text = (ROOT / page).read_text()
    (values,) = re.findall(r"```yaml\n# values\.yaml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "values.yaml").write_text(values)
    (line,) = re.findall(r"^helm (install (?:.*\\\n)*.*)$", text, re.MULTILINE)
    words = [str(ROOT / word) if word.startswith("charts/") else word for word in shlex.split(line.replace("\\\n", ""))]
    words[words.index("values.yaml")] = str(tmp_path / "values.yaml")
    try:
        assert "k6-sweep waits in the same pod, as a native sidecar" in helm(restricted, binary, *words)
    finally:
        helm(restricted, binary, "uninstall", "load-test", "-n", "load-test")
