"""The command blocks of README and docs that change a cluster work as they are written, in a real API server."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.blocks import ROOT, blocks, shell
from tests.chart.helm import why_no_helm
from tests.kubernetes.apiserver import ADMIN, KubeApi
from tests.kubernetes.conftest import running_api

JOB = (ROOT / "examples/guide-before.yaml").read_text()


REMOVE = """
kubectl delete jobs,deployments,configmaps,secrets,roles,rolebindings --all -n load-test --wait=false
kubectl delete pods --all -n load-test --wait=false --grace-period=0 --force
kubectl delete mutatingadmissionpolicies,validatingadmissionpolicies --all --wait=false
kubectl delete mutatingadmissionpolicybindings,validatingadmissionpolicybindings --all --wait=false
kubectl delete namespace load-test --wait=false
kubectl get namespace load-test -o json | sed 's/"kubernetes"//' |
    kubectl replace --raw /api/v1/namespaces/load-test/finalize -f -
"""
"""Ends the namespace, as its controller would."""


@pytest.fixture(scope="module")
def api() -> Iterator[KubeApi]:
    """An API server of its own: the blocks create the namespace `load-test` themselves."""
    if reason := why_no_helm():
        pytest.skip(reason)
    with running_api() as server:
        yield server


@pytest.fixture
def folder(api: KubeApi, tmp_path: Path) -> Iterator[Path]:
    """The reader's checkout, where kubectl and helm know the cluster; docker and pip are played."""
    (tmp_path / "bin").mkdir()
    access = f"--server https://127.0.0.1:{api.port} --certificate-authority {api.folder / 'authority.pem'}"
    helm_access = f"--kube-apiserver https://127.0.0.1:{api.port} --kube-ca-file {api.folder / 'authority.pem'}"
    programs = {
        "kubectl": f'exec {ROOT}/.tools/kubectl {access} --token {ADMIN} "$@"',
        "helm": f'exec {ROOT}/.tools/helm4 {helm_access} --kube-token {ADMIN} "$@"',
        "docker": f'echo "$@" >>{tmp_path}/docker',
        "openssl": "echo 0123",
    }
    for name, text in programs.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    for name in ("charts", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name in ("test.js", "cleanup.js"):
        (tmp_path / name).write_text((ROOT / "examples/k6" / name).read_text())
    (tmp_path / "job.yaml").write_text(re.sub(r"name: [a-z-]+\n", "name: load-test\n", JOB, count=1))
    yield tmp_path
    done = shell(REMOVE, tmp_path)
    assert done.returncode == 0, done.stderr


def run(name: str, folder: Path, *left_out: str, **replaced: str) -> str:
    """Run a block of a page, and return its output."""
    done = shell(blocks()[name].but(*left_out, **replaced), folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def prepared(folder: Path) -> Path:
    """The namespace, as README creates it."""
    assert shell("kubectl create namespace load-test", folder).returncode == 0
    return folder


def got(folder: Path, what: str) -> list[str]:
    """Return the names of objects in the namespace."""
    found = shell(f"kubectl get {what} -n load-test -o json", folder).stdout
    return [each["metadata"]["name"] for each in json.loads(found)["items"]]


def test_readme_prepares_the_namespace(folder: Path) -> None:
    """README: the image is built and pushed by one name, and kubectl creates the script and the password."""
    run("README.md: python3 -m venv", folder, "venv", "PATH=")
    built, pushed = (folder / "docker").read_text().splitlines()
    assert built.split()[2] == pushed.split()[1]
    assert "load-test" in got(folder, "configmap")
    assert "redis" in got(folder, "secret")


def test_readme_injects_and_reads_and_removes(prepared: Path) -> None:
    """README: inject's output is applied, the message is found where the block looks for it, and both go again."""
    inject = "README.md: k6-sweep inject -f"
    assert "job.batch/load-test" in run(inject, prepared)
    assert got(prepared, "job") == ["load-test"]
    before = (prepared / "job.yaml").read_text()
    run(inject, prepared, "message=", "kubectl get", **{"| kubectl apply -f -": "> injected.yaml"})
    (prepared / "injected.yaml").rename(prepared / "job.yaml")
    assert "SWEEP_PATTERN" in (prepared / "job.yaml").read_text()
    run("README.md: helm uninstall load-test", prepared, "helm uninstall")
    assert (prepared / "without.yaml").read_text() == before


def test_the_helm_form_is_removed(prepared: Path) -> None:
    """README: helm uninstall removes what README's helm install has made."""
    page = (ROOT / "README.md").read_text()
    (values,) = re.findall(r"```yaml\n(# values\.yaml\n.*?)```", page, re.DOTALL)
    (prepared / "values.yaml").write_text(values)
    run("README.md: helm install load-test", prepared)
    assert "load-test" in " ".join(got(prepared, "job"))
    run("README.md: helm uninstall load-test", prepared, "inject")
    assert got(prepared, "job") == []


def test_upgrades(prepared: Path) -> None:
    """`helm upgrade` changes no Job, creates one that is gone, and changes an endpoint, a schedule and the policy."""
    page = (ROOT / "README.md").read_text()
    (values,) = re.findall(r"```yaml\n(# values\.yaml\n.*?)```", page, re.DOTALL)
    (prepared / "values.yaml").write_text(values)
    chart = "load-test charts/k6-sweep -n load-test -f values.yaml --set image.registry=registry.example"
    uid = "kubectl get job load-test-k6-sweep -n load-test -o jsonpath='{.metadata.uid}'"
    assert shell(f"helm install {chart}", prepared).returncode == 0
    before = shell(uid, prepared).stdout
    assert "immutable" in shell(f"helm upgrade {chart},image.tag=newer", prepared).stderr
    assert shell(f"helm upgrade {chart}", prepared).returncode == 0
    assert shell(uid, prepared).stdout == before
    gone = shell(f"kubectl delete job load-test-k6-sweep -n load-test && helm upgrade {chart}", prepared)
    assert gone.returncode == 0, gone.stderr
    assert shell(uid, prepared).stdout not in {"", before}
    assert shell("helm uninstall load-test -n load-test", prepared).returncode == 0

    chart += ",k6.enabled=false,cleanup.enabled=false,api.enabled=true,api.existingSecret=x"
    chart += ",cleanupJob.enabled=true,cleanupJob.schedule=@daily,policy.enabled=true"
    upgraded = shell(f"helm install {chart} && helm upgrade {chart},image.tag=newer", prepared)
    assert upgraded.returncode == 0, upgraded.stderr
    images = "jsonpath={..containers[*].image}"
    found = shell(f"kubectl get deployments,cronjobs -n load-test -o '{images}'", prepared).stdout.split()
    assert found == ["registry.example/k6-sweep:newer"] * 2
    assert shell("helm uninstall load-test -n load-test", prepared).returncode == 0


@pytest.fixture
def ended_pod(prepared: Path) -> Path:
    """A pod whose native sidecar has ended with a message."""
    ended = {"exitCode": 0, "message": '{"status":"complete"}', "reason": "Completed"}
    common = {"name": "k6-sweep", "image": "x", "imageID": "", "ready": False, "restartCount": 0}
    status = {"phase": "Succeeded", "initContainerStatuses": [{**common, "state": {"terminated": ended}}]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "load-test-abc", "labels": {"job-name": "load-test"}},
        "spec": {"containers": [{"name": "k6", "image": "k6"}], "initContainers": [{"name": "k6-sweep", "image": "x"}]},
    }
    (prepared / "pod.json").write_text(json.dumps(pod))
    (prepared / "status.json").write_text(json.dumps({"status": status}))
    done = shell(
        "kubectl apply -n load-test -f pod.json && "
        "kubectl patch pod load-test-abc -n load-test --subresource status --type merge --patch-file status.json",
        prepared,
    )
    assert done.returncode == 0, done.stderr
    return prepared


def test_the_message_is_where_the_pages_look(ended_pod: Path) -> None:
    """docs/report.md and README: the commands print the message of an ended sidecar."""
    assert run("docs/report.md: kubectl get pod", ended_pod) == '{"status":"complete"}'
    (line,) = [
        each for each in blocks()["README.md: k6-sweep inject -f"].text.splitlines() if each.startswith("message=")
    ]
    get = blocks()["README.md: k6-sweep inject -f"].text.splitlines()[-1]
    assert shell(f"{line}\n{get}", ended_pod).stdout == '{"status":"complete"}'


def test_the_message_before_a_restart_is_where_the_page_looks(ended_pod: Path) -> None:
    """docs/report.md: after a crash, the kubelet's own text comes first, and then the reason."""
    crashed = {
        "name": "k6-sweep",
        "image": "x",
        "imageID": "",
        "ready": False,
        "restartCount": 1,
        "state": {"terminated": {"exitCode": 137, "message": "The container could not be located"}},
        "lastState": {"terminated": {"exitCode": 2, "message": '{"status":"error"}'}},
    }
    (ended_pod / "status.json").write_text(json.dumps({"status": {"initContainerStatuses": [crashed]}}))
    patch = "kubectl patch pod load-test-abc -n load-test --subresource status --type merge --patch-file status.json"
    assert shell(patch, ended_pod).returncode == 0
    expected = 'The container could not be located {"status":"error"}'
    assert run("docs/report.md: kubectl get pod", ended_pod) == expected


def test_the_runbooks_look(ended_pod: Path) -> None:
    """docs/runbooks.md: the commands find the pod's message and containers; no kubelet is here that has its log."""
    names = blocks()["docs/runbooks.md: NAMESPACE=load-test # the"].but(**{"nightly-x7k2p": "load-test-abc"})
    for name in ("docs/runbooks.md: kubectl get pod", "docs/runbooks.md: kubectl get pod (2)"):
        done = shell(f"{names}\n{blocks()[name].but('kubectl logs')}", ended_pod)
        assert (done.returncode, done.stdout) == (0, '{"status":"complete"}'), done.stderr
    run("docs/runbooks.md: kubectl get pods", ended_pod, "k6-sweep ")
    done = shell(f"{names}\n{blocks()['docs/runbooks.md: kubectl get jobs,cronjobs'].but('k6-sweep tests')}", ended_pod)
    assert "load-test-abc k6-sweep k6\n" in done.stdout, done.stderr


def test_the_runbooks_sweep_again(prepared: Path) -> None:
    """docs/runbooks.md: the cleanup Job is made with the values of the test's release, beside the test's Job."""
    page = (ROOT / "README.md").read_text()
    (values,) = re.findall(r"```yaml\n(# values\.yaml\n.*?)```", page, re.DOTALL)
    (prepared / "values.yaml").write_text(values)
    installed = blocks()["README.md: helm install load-test"].but(**{"helm install load-test": "helm install nightly"})
    assert shell(installed, prepared).returncode == 0
    names = blocks()["docs/runbooks.md: NAMESPACE=load-test # the"].text
    again = blocks()["docs/runbooks.md: helm get values"].but(**{"kubectl logs -f $JOB": "kubectl get -o name $JOB"})
    done = shell(f"{names}\n{again}", prepared)
    assert done.stdout == "job.batch/nightly-k6-sweep-cleanup\n", done.stderr
    assert got(prepared, "job") == ["nightly-k6-sweep", "nightly-k6-sweep-cleanup"]


def test_the_four_ways_are_prepared(folder: Path) -> None:
    """docs/four-ways.md: what the examples need is created, and the Role of the sidecar."""
    run("docs/four-ways.md: kubectl create namespace", folder)
    assert {"redis", "k6-sweep"} <= set(got(folder, "secret"))
    run("docs/four-ways.md: kubectl create role", folder)
    assert got(folder, "role,rolebinding") == ["k6-sweep-pod", "k6-sweep-pod"]


def test_the_endpoint_is_installed(prepared: Path) -> None:
    """docs/four-ways.md: the chart installs the endpoint with the page's values."""
    page = (ROOT / "docs/four-ways.md").read_text().partition("## An admin endpoint")[2]
    (prepared / "values.yaml").write_text(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[0])
    run("docs/four-ways.md: helm install sweep", prepared)
    assert got(prepared, "deployment") == ["sweep-k6-sweep-api"]


def test_the_labels_are_installed(prepared: Path) -> None:
    """docs/kubernetes.md: the policy is installed from the values in the block."""
    run("docs/kubernetes.md: helm install shop", prepared)
    policies = shell("kubectl get mutatingadmissionpolicies -o name", prepared).stdout
    assert "shop" in policies
    shell("helm uninstall shop -n load-test", prepared)


def test_a_test_is_run_again(prepared: Path) -> None:
    """docs/several-tests.md: the Job is deleted, no pod is left, and the Job is created again."""
    assert shell("kubectl apply -n load-test -f job.yaml", prepared).returncode == 0
    done = shell(blocks()["docs/several-tests.md: kubectl delete job"].text, prepared)
    assert "created" in done.stdout, done.stderr
