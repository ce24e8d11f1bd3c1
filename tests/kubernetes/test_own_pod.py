"""The watcher sees the end of k6 in its own pod by the API server."""

import signal
import time

import pytest

from k6_sweep.demo.servers import Node
from tests.acceptance.pod import Sidecar
from tests.kubernetes.rig import READ_PODS, RUNNING, Manifest, Namespace, Watchers, kept, pod, terminated
from tests.support import until


@pytest.fixture
def watcher(namespace: Namespace, watchers: Watchers) -> Sidecar:
    """A sidecar in the pod `load-test`, where k6 has not started yet."""
    namespace.create(pod("load-test", containers=("k6", "mesh"), terminationGracePeriodSeconds=40))
    account = namespace.account(READ_PODS)
    return watchers.start(account, "--detector", "kubernetes", pod_name="load-test")


def test_it_waits_for_the_end_and_sweeps(namespace: Namespace, watcher: Sidecar, redis_node: Node) -> None:
    """After k6's end with failed thresholds its keys are gone, and the report has the code and the time."""
    namespace.k6_is("load-test", {"waiting": {"reason": "ContainerCreating"}}, phase="Pending")
    assert watcher.still_waits()
    namespace.k6_is("load-test", RUNNING)
    until(lambda: watcher.says("k6 is running"))
    namespace.k6_is("load-test", {"terminated": {"exitCode": 0}}, container="mesh")
    assert watcher.still_waits()
    assert kept(redis_node)
    namespace.k6_is("load-test", terminated(99))
    report = watcher.report()
    assert (report["status"], report["deleted"]) == ("complete", 1)
    assert report["k6"] == {
        "ended": True,
        "detector": "kubernetes",
        "exit_code": 99,
        "reason": "thresholds failed",
        "ended_at": "2026-11-22T07:05:00.000Z",
    }


def test_out_of_memory_is_named(namespace: Namespace, watcher: Sidecar) -> None:
    """The report has the API's reason for k6's kill."""
    namespace.k6_is("load-test", RUNNING)
    namespace.k6_is("load-test", terminated(137, "OOMKilled"))
    report = watcher.report()
    assert (report["k6"]["exit_code"], report["k6"]["reason"]) == (137, "OOMKilled")


def test_a_phase_that_is_final_counts_more_than_container_statuses(namespace: Namespace, watcher: Sidecar) -> None:
    """An evicted pod has ended, whatever its last container statuses."""
    namespace.k6_is("load-test", RUNNING)
    until(lambda: watcher.says("k6 is running"))
    namespace.status("Pod", "load-test", {"phase": "Failed", "reason": "Evicted"})
    report = watcher.report()
    assert (report["status"], report["deleted"]) == ("complete", 1)
    assert (report["k6"]["exit_code"], report["k6"]["reason"]) == (None, "Evicted")


def test_a_k6_that_never_started_is_unseen(namespace: Namespace, watcher: Sidecar, redis_node: Node) -> None:
    """After a StartError k6 has written no key, so no key is deleted, and the report has the reason."""
    namespace.k6_is("load-test", terminated(128, "StartError"))
    report = watcher.report()
    assert (watcher.process.returncode, report["status"]) == (6, "unseen")
    assert "StartError" in report["errors"][0]
    assert kept(redis_node)


def test_a_pod_that_was_deleted_may_run_on_for_its_grace_period(
    namespace: Namespace, watchers: Watchers, redis_node: Node
) -> None:
    """The watcher waits its grace period for a pod that is gone without an end of k6."""
    namespace.create(pod("load-test", terminationGracePeriodSeconds=4))
    account = namespace.account(READ_PODS)
    watcher = watchers.start(account, "--detector", "kubernetes", "--target", "pod/load-test")
    namespace.k6_is("load-test", RUNNING)
    until(lambda: watcher.says("k6 is running"))
    namespace.delete("Pod", "load-test")
    assert watcher.still_waits(2)
    assert kept(redis_node)
    report = watcher.report()
    assert (report["status"], report["k6"]["ended"], report["k6"]["exit_code"]) == ("complete", True, None)


def test_a_replaced_pod_is_waited_for_too(namespace: Namespace, watchers: Watchers, redis_node: Node) -> None:
    """The watcher waits for the k6 of a new pod with the same name."""
    namespace.create(pod("load-test", terminationGracePeriodSeconds=1))
    watcher = watchers.start(namespace.account(READ_PODS), "--target", "pod/load-test")
    namespace.k6_is("load-test", RUNNING)
    until(lambda: watcher.says("k6 is running"))
    namespace.delete("Pod", "load-test")
    namespace.create(pod("load-test"))
    namespace.k6_is("load-test", RUNNING)
    assert watcher.still_waits(2.5)
    assert kept(redis_node)
    namespace.k6_is("load-test", terminated(0))
    assert watcher.report()["status"] == "complete"


RESTARTS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "the pod's policy": ({"restartPolicy": "OnFailure"}, {}),
    "the container's policy": ({"restartPolicy": "Never"}, {"restartPolicy": "OnFailure"}),
    "a rule of the container": (
        {"restartPolicy": "Never"},
        {
            "restartPolicy": "Never",
            "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [107]}}],
        },
    ),
}


@pytest.mark.parametrize(("spec", "container"), RESTARTS.values(), ids=RESTARTS.keys())
def test_a_k6_that_will_be_started_again_has_not_ended(
    spec: dict[str, object],
    container: dict[str, object],
    namespace: Namespace,
    watchers: Watchers,
    redis_node: Node,
) -> None:
    """The watcher waits after an end if the kubelet restarts k6, and sweeps after an end without restart."""
    manifest = pod("load-test")
    manifest["spec"] |= spec
    manifest["spec"]["containers"][0] |= container
    namespace.create(manifest)
    watcher = watchers.start(namespace.account(READ_PODS), "--detector", "kubernetes", pod_name="load-test")
    namespace.k6_is("load-test", terminated(107))
    until(lambda: watcher.says("k6 is running"))
    assert watcher.still_waits()
    namespace.k6_is("load-test", {"waiting": {"reason": "CrashLoopBackOff"}})
    assert watcher.still_waits()
    assert kept(redis_node)
    namespace.k6_is("load-test", terminated(0))
    report = watcher.report()
    assert (report["status"], report["k6"]["exit_code"]) == ("complete", 0)


def test_a_k6_that_ended_before_the_start_is_swept_after(
    namespace: Namespace, watchers: Watchers, redis_node: Node
) -> None:
    """The watcher sweeps after a k6 that ended before the watcher's start."""
    namespace.create(pod("load-test"))
    namespace.k6_is("load-test", terminated(0))
    watcher = watchers.start(namespace.account(READ_PODS), "--detector", "kubernetes", pod_name="load-test")
    assert watcher.report()["status"] == "complete"
    assert not kept(redis_node)


def test_another_name_of_k6s_container(namespace: Namespace, watchers: Watchers) -> None:
    """--k6-container names k6's container; without it the error lists the pod's containers."""
    namespace.create(pod("load-test", containers=("tester", "sidecar")))
    account = namespace.account(READ_PODS)
    refused = watchers.start(account, "--detector", "kubernetes", pod_name="load-test").report()
    assert refused["status"] == "error"
    assert "no container is named 'k6'; there are sidecar, tester; set --k6-container" in refused["errors"][0]
    watcher = watchers.start(account, "--k6-container", "tester", "--detector", "kubernetes", pod_name="load-test")
    namespace.k6_is("load-test", RUNNING, container="tester")
    namespace.k6_is("load-test", terminated(0), container="tester")
    assert watcher.report()["status"] == "complete"


def test_several_k6_in_one_pod(namespace: Namespace, watchers: Watchers, redis_node: Node) -> None:
    """With several --k6-container, nothing is swept until the last of them has ended, and each of them must exist."""
    namespace.create(pod("load-test", containers=("smoke", "heavy")))
    account = namespace.account(READ_PODS)
    wrong = watchers.start(account, "--k6-container", "smoke", "--k6-container", "k6", pod_name="load-test").report()
    assert "no container is named 'k6'; there are heavy, smoke" in wrong["errors"][0]

    def are(smoke: Manifest, heavy: Manifest) -> None:
        states = [{"name": "smoke", "state": smoke}, {"name": "heavy", "state": heavy}]
        common = {"ready": False, "restartCount": 0, "image": "k6", "imageID": ""}
        statuses = [each | common for each in states]
        namespace.status("Pod", "load-test", {"phase": "Running", "containerStatuses": statuses})

    are(RUNNING, RUNNING)
    watcher = watchers.start(account, SWEEP_K6_CONTAINER="smoke,heavy", pod_name="load-test")
    until(lambda: watcher.says("k6 is running"))
    are(terminated(0), RUNNING)
    assert watcher.still_waits()
    assert kept(redis_node)
    are(terminated(0), terminated(99))
    report = watcher.report()
    assert (report["status"], report["k6"]["exit_code"], report["k6"]["detector"]) == ("complete", 99, "kubernetes")
    assert not kept(redis_node)


def test_the_tokens_claims_name_the_pod(namespace: Namespace, watchers: Watchers) -> None:
    """Without the downward API the watcher takes the pod's name from its token."""
    namespace.create(pod("load-test", serviceAccountName="account-0"))
    account = namespace.account(READ_PODS, bound_to="load-test")
    watcher = watchers.start(account, "--detector", "kubernetes")
    namespace.k6_is("load-test", RUNNING)
    namespace.k6_is("load-test", terminated(0))
    assert watcher.report()["k6"]["exit_code"] == 0


def test_a_pod_that_cannot_be_named(namespace: Namespace, watchers: Watchers) -> None:
    """If nothing gives the pod's name, the message has the lines that do."""
    report = watchers.start(namespace.account(READ_PODS), "--detector", "kubernetes").report()
    assert report["status"] == "error"
    assert "fieldPath: metadata.name" in report["errors"][0]


def test_a_pod_that_is_misnamed(namespace: Namespace, watchers: Watchers) -> None:
    """A pod name that the API does not know is an error at once, because the watcher's own pod exists."""
    report = watchers.start(namespace.account(READ_PODS), "--detector", "kubernetes", pod_name="laod-test").report()
    assert report["status"] == "error"
    assert "check POD_NAME" in report["errors"][0]


def test_k6_that_never_comes_is_unseen(namespace: Namespace, watchers: Watchers, redis_node: Node) -> None:
    """After --start-timeout no key is deleted, and the report has the pod's state."""
    namespace.create(pod("load-test"))
    namespace.k6_is("load-test", {"waiting": {"reason": "ImagePullBackOff"}}, phase="Pending")
    account = namespace.account(READ_PODS)
    watcher = watchers.start(account, "--detector", "kubernetes", "--start-timeout", "2", pod_name="load-test")
    report = watcher.report()
    assert report["status"] == "unseen"
    assert "pod load-test: ImagePullBackOff" in report["errors"][0]
    assert kept(redis_node)


def test_sigterm_while_k6_runs(namespace: Namespace, watchers: Watchers, redis_node: Node) -> None:
    """After SIGTERM the watcher waits for k6's teardown as long as the pod's deletion allows."""
    namespace.create(pod("load-test", terminationGracePeriodSeconds=600))
    watcher = watchers.start(
        namespace.account(READ_PODS), "--detector", "kubernetes", "--timeout", "2", pod_name="load-test"
    )
    namespace.k6_is("load-test", RUNNING)
    until(lambda: watcher.says("k6 is running"))
    watcher.process.send_signal(signal.SIGTERM)
    assert watcher.still_waits(1.5)
    namespace.delete("Pod", "load-test", grace=8)
    assert watcher.still_waits(1.5)
    report = watcher.report()
    assert (report["status"], report["deleted"], report["k6"]["ended"]) == ("incomplete", 1, False)
    assert "pod load-test: running" in report["errors"][0]
    assert not kept(redis_node)


def test_sigterm_before_the_news_of_a_short_k6(namespace: Namespace, watchers: Watchers, redis_node: Node) -> None:
    """A native sidecar may get SIGTERM before the news of k6's end; it waits for the news and sweeps."""
    namespace.create(pod("load-test", terminationGracePeriodSeconds=30))
    options = ("--detector", "kubernetes", "--native", "--timeout", "5")
    watcher = watchers.start(namespace.account(READ_PODS), *options, pod_name="load-test")
    watcher.process.send_signal(signal.SIGTERM)
    assert watcher.still_waits(1)
    namespace.k6_is("load-test", terminated(0))
    report = watcher.report()
    assert (report["status"], watcher.process.returncode) == ("complete", 0)
    assert not kept(redis_node)


def test_a_native_sidecar_in_a_pod_that_is_deleted(namespace: Namespace, watchers: Watchers, redis_node: Node) -> None:
    """In a deleted pod the API reports no container's end, so SIGTERM, which comes after k6, starts the sweep."""
    namespace.create(pod("load-test", terminationGracePeriodSeconds=60))
    options = ("--detector", "kubernetes", "--native")
    watcher = watchers.start(namespace.account(READ_PODS), *options, pod_name="load-test")
    namespace.k6_is("load-test", RUNNING)
    until(lambda: watcher.says("k6 is running"))
    namespace.delete("Pod", "load-test", grace=60)
    assert watcher.still_waits()
    assert kept(redis_node)
    watcher.process.send_signal(signal.SIGTERM)
    report = watcher.report()
    assert (report["status"], report["k6"]["ended"], report["k6"]["exit_code"]) == ("complete", True, None)
    assert not kept(redis_node)


def test_a_second_sigterm_stops(namespace: Namespace, watcher: Sidecar, redis_node: Node) -> None:
    """A second SIGTERM ends the watcher without a sweep while k6 runs."""
    namespace.k6_is("load-test", RUNNING)
    until(lambda: watcher.says("k6 is running"))
    watcher.process.send_signal(signal.SIGTERM)
    assert watcher.still_waits(0.5)
    watcher.process.send_signal(signal.SIGTERM)
    report = watcher.report()
    assert (report["status"], watcher.process.returncode) == ("incomplete", 3)
    assert kept(redis_node)


def test_a_native_sidecar_that_is_done_waits_for_sigterm(namespace: Namespace, watchers: Watchers) -> None:
    """A native sidecar waits for SIGTERM with its report written, because the kubelet would restart it."""
    namespace.create(pod("load-test"))
    options = ("--detector", "kubernetes", "--native")
    watcher = watchers.start(namespace.account(READ_PODS), *options, pod_name="load-test")
    namespace.k6_is("load-test", terminated(128, "StartError"))
    until(lambda: watcher.status() == "unseen")
    time.sleep(1)
    assert watcher.process.poll() is None
    watcher.process.send_signal(signal.SIGTERM)
    assert watcher.report()["status"] == "unseen"
    assert watcher.process.returncode == 6


@pytest.mark.parametrize(("code", "when", "status"), [(0, "success", "complete"), (99, "success", "skipped")])
def test_when_is_judged_by_the_apis_exit_code(
    code: int, when: str, status: str, namespace: Namespace, watchers: Watchers
) -> None:
    """--when uses the API's exit code, without the kernel."""
    namespace.create(pod("load-test"))
    options = ("--detector", "kubernetes", "--when", when)
    watcher = watchers.start(namespace.account(READ_PODS), *options, pod_name="load-test")
    namespace.k6_is("load-test", RUNNING)
    namespace.k6_is("load-test", terminated(code))
    assert watcher.report()["status"] == status
