"""On a real kubelet: what sweeps from outside the test's pod, and several tests at once."""

import concurrent.futures
import itertools
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e.cluster_user import LOAD, NAME, NODE, ClusterUser, Manifest, kubelet, merged
from tests.support import until

CLEANUP = f"{NAME}-cleanup"
ONLY_CLEANUP = {"k6": {"enabled": False}, "cleanup": {"enabled": False}}


def a_job(user: ClusterUser, **spec: object) -> Manifest:
    """Return a Job with k6 as users write it, without k6-sweep, and what it needs."""
    k6 = {
        "name": "k6",
        "image": "localhost/k6:test",
        "imagePullPolicy": "Never",
        "args": ["run", "/test/load.js"],
        "env": user.env(),
        "volumeMounts": [{"name": "script", "mountPath": "/test"}],
    }
    pod = {
        "restartPolicy": "Never",
        "containers": [k6],
        "volumes": [{"name": "script", "configMap": {"name": "script"}}],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": NAME, "namespace": user.namespace},
        "spec": {"backoffLimit": 0, "template": {"spec": pod}, **spec},
    }


def with_script(user: ClusterUser) -> None:
    user.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "script"}, "data": {"load.js": LOAD}})


def injected(user: ClusterUser, manifest: Manifest) -> str:
    """Return what `k6-sweep inject` makes of a manifest."""
    options = {
        "--image": "localhost/k6-sweep:test",
        "--redis-url": user.url,
        "--pattern": f"{user.namespace}:*",
        "--allowed-namespace": user.namespace,
    }
    command = [sys.executable, "-m", "k6_sweep", "inject", "-f", "-", *itertools.chain(*options.items())]
    done = subprocess.run(command, input=json.dumps(manifest), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_injected_job(user: ClusterUser) -> None:
    """`k6-sweep inject … | kubectl apply -f -` is all that a Job needs."""
    with_script(user)
    user.kubectl("apply", "-f", "-", given=injected(user, a_job(user)))
    message = user.wait_for_message()
    assert (message["status"], message["deleted"], message["k6"]["exit_code"]) == ("complete", 2000, 0)
    assert user.keys() == 0
    assert user.wait_for_job() == "Complete"


def test_a_cron_job(user: ClusterUser) -> None:
    """The Job of a CronJob is swept as any other."""
    with_script(user)
    cron = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "nightly", "namespace": user.namespace},
        "spec": {"schedule": "* * * * *", "concurrencyPolicy": "Forbid", "jobTemplate": {"spec": a_job(user)["spec"]}},
    }
    user.kubectl("apply", "-f", "-", given=injected(user, cron))
    until(lambda: any(each["metadata"]["name"].startswith("nightly-") for each in user.pods()))
    name = user.pods()[0]["metadata"]["labels"]["job-name"]
    message = user.wait_for_message(job=name)
    user.kubectl("patch", "cronjob", "nightly", "-p", '{"spec":{"suspend":true}}')
    assert (message["status"], message["deleted"]) == ("complete", 2000)
    assert user.wait_for_job(name) == "Complete"


def test_the_cleanup_job(user: ClusterUser) -> None:
    """The cleanup Job sweeps at once; as a CronJob, it sweeps in each of its Jobs."""
    user.write(500)
    user.install(merged(user.values(cleanupJob={"enabled": True}), ONLY_CLEANUP))
    message = user.wait_for_message(job=CLEANUP)
    assert (message["status"], message["deleted"], user.keys()) == ("complete", 500, 0)
    assert user.wait_for_job(CLEANUP) == "Complete"

    user.write(300)
    values = user.values(fullnameOverride="later", cleanupJob={"enabled": True, "schedule": "0 0 29 2 *"})
    user.install(merged(values, ONLY_CLEANUP), release="later")
    user.kubectl("create", "job", "now", "--from=cronjob/later-cleanup")
    message = user.wait_for_message(job="now")
    assert (message["status"], message["deleted"], user.keys()) == ("complete", 300, 0)


def test_the_endpoint_has_two_replicas(user: ClusterUser) -> None:
    """Of two requests to two replicas at once, one sweeps, and the other is told that a sweep is under way."""
    user.write(4000)
    user.kubectl("create", "secret", "generic", "admin", "--from-literal=token=a-token-of-the-test")
    values = user.values(
        api={"enabled": True, "replicas": 2, "existingSecret": "admin", "networkPolicy": {"enabled": False}},
        cleanup={"maxRate": 1000},
    )
    user.install(merged(values, ONLY_CLEANUP | {"cleanup": {"enabled": False, "maxRate": 1000}}))
    user.kubectl("rollout", "status", "deployment", "--timeout", "120s")
    addresses = [each["status"]["podIP"] for each in user.pods("app.kubernetes.io/component=api")]
    assert len(addresses) == 2

    def ask(address: str) -> tuple[int, Manifest]:
        url = f"http://{address}:8000/internal/admin/redis/cleanup"
        request = urllib.request.Request(url, b"{}", {"X-Admin-Token": "a-token-of-the-test"}, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        answers = dict(pool.map(ask, addresses))
    assert set(answers) == {200, 409}
    assert (answers[200]["deleted_count"], user.keys()) == (4000, 0)


def test_two_tests_overlap(user: ClusterUser) -> None:
    """Of two tests with the same patterns, the first to end hands over, and the last one sweeps for both."""
    for name, seconds in (("first", 5), ("last", 30)):
        env = user.env(seconds=seconds, more={"PREFIX": f"{user.namespace}:{name}"})
        user.install(user.values(env, fullnameOverride=name), release=name)
    first = user.wait_for_message(job="first")
    assert (first["status"], first["deleted"]) == ("handed-over", 0)
    assert user.keys() == 4000
    last = user.wait_for_message(job="last")
    assert (last["status"], last["deleted"]) == ("complete", 4000)
    assert user.keys() == 0
    assert user.wait_for_job("first") == user.wait_for_job("last") == "Complete"
    assert {"SweepHandedOver", "Swept"} <= set(user.events())


def test_a_test_run(user: ClusterUser) -> None:
    """The watcher of a TestRun sweeps after its last runner. The test plays k6-operator, with its runners as Jobs."""
    definition = os.environ.get("K6_SWEEP_TESTRUN_CRD")
    if not definition:
        pytest.skip("needs k6-operator's definition of TestRun: set K6_SWEEP_TESTRUN_CRD to its file")
    user.kubectl("apply", "--server-side", "-f", definition, everywhere=True)
    until(lambda: is_established(user))
    with_script(user)
    user.install(user.values(testRun={"enabled": True}, k6={"parallelism": 2}))
    for number, seconds in ((1, 1), (2, 10)):
        runner = a_job(user)
        runner["metadata"]["name"] = f"{NAME}-{number}"
        template = runner["spec"]["template"]
        template["metadata"] = {"labels": {"app": "k6", "k6_cr": NAME, "runner": "true"}}
        template["spec"]["containers"][0]["env"] = user.env(
            seconds=seconds, more={"PREFIX": f"{user.namespace}:{number}"}
        )
        user.apply(runner)
    stage(user, "started")
    assert user.wait_for_job(f"{NAME}-1") == "Complete"
    assert user.keys() == 4000, "another runner still uses its keys"
    assert user.wait_for_job(f"{NAME}-2") == "Complete"
    stage(user, "finished")
    message = user.wait_for_message(job=f"{NAME}-sweep")
    assert (message["status"], message["deleted"], user.keys()) == ("complete", 4000, 0)
    assert "4000 keys deleted" in user.wait_for_event("Swept")


def is_established(user: ClusterUser) -> bool:
    """Return whether the API server serves TestRuns."""
    crd = json.loads(user.kubectl("get", "crd", "testruns.k6.io", "-o", "json", everywhere=True))
    conditions = crd.get("status", {}).get("conditions") or ()  # null at first
    return any((each["type"], each["status"]) == ("Established", "True") for each in conditions)


def stage(user: ClusterUser, name: str) -> None:
    """Set the stage of the TestRun, as k6-operator does."""
    user.kubectl(
        "patch", "testrun", NAME, "--subresource=status", "--type=merge", "-p", f'{{"status":{{"stage":"{name}"}}}}'
    )


@pytest.mark.alone
def test_a_pod_that_the_kubelet_evicts(user: ClusterUser, node_settings: Path) -> None:
    """If memory runs out on the node, the kubelet evicts k6's pod without a grace period, and the watcher sweeps."""
    user.install(user.values(user.env(seconds=600, more={"HOG_MIB": "1000"}), k6={"parallelism": 2}))
    user.wait_for_k6()
    until(lambda: [memory_of(each) > 900 * 2**20 for each in user.processes("k6")] == [True, True])
    summary = json.loads(user.kubectl("get", "--raw", f"/api/v1/nodes/{NODE}/proxy/stats/summary", everywhere=True))
    above = summary["node"]["memory"]["availableBytes"] // 2**20 + 200
    settings = node_settings.read_text()
    node_settings.write_text(settings.replace("evictionHard: {", f"evictionHard: {{memory.available: {above}Mi, "))
    kubelet().kill()
    message = user.wait_for_message(job=f"{NAME}-sweep")
    assert "Evicted" in [each["status"].get("reason") for each in user.pods(f"job-name={NAME}")]
    assert (message["status"], message["deleted"], message["k6"]["exit_code"]) == ("complete", 2000, 137)
    # The kubelet reports the container's end a moment before the reason.
    assert message["k6"]["reason"] in {"Evicted", "killed (often out of memory)"}
    assert user.keys() == 0


def memory_of(process: psutil.Process) -> int:
    """Return the bytes of memory of a process."""
    return int(process.memory_info().rss)


@pytest.fixture
def node_settings() -> Iterator[Path]:
    """The file with the kubelet's settings, which the kubelet gets back afterwards."""
    file = Path(os.environ["KUBECONFIG"]).with_name("kubelet.yaml")
    before = file.read_text()
    yield file
    file.write_text(before)
    kubelet().kill()
