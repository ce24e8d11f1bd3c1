"""On a real kubelet: what becomes of the keys and the counts if the test, its pod or k6-sweep is interrupted."""

import contextlib
import time
from collections.abc import Iterator

import psutil
import pytest

from tests.e2e.cluster_user import NAME, ClusterUser, kubelet
from tests.support import until

SLOW = {"maxRate": 1000}
"""A sweep of 8,000 keys that takes some seconds, to be interrupted."""


def test_the_pod_is_deleted_during_the_test(user: ClusterUser) -> None:
    """`kubectl delete pod` ends k6, the keys are swept, and the Event has the counts: the message goes with the pod."""
    user.install(user.values(user.env(seconds=600)))
    user.wait_for_k6()
    user.kubectl("delete", "pod", "-l", f"job-name={NAME}", "--wait=false")
    assert "2000 keys deleted" in user.wait_for_event("Swept")
    assert user.keys() == 0
    until(lambda: not user.pods(f"job-name={NAME}"), 120)


def test_the_pod_is_deleted_during_the_sweep(user: ClusterUser) -> None:
    """`kubectl delete pod` in mid-sweep gives the sweep the rest of the grace period, which is enough."""
    user.install(user.values(user.env(keys=8000, seconds=1), cleanup=SLOW))
    user.wait_for_k6(8000)
    user.wait_for_sweep(below=7000)
    user.kubectl("delete", "pod", "-l", f"job-name={NAME}", "--wait=false")
    assert "8000 keys deleted" in user.wait_for_event("Swept")
    assert user.keys() == 0


def test_the_job_is_deleted(user: ClusterUser) -> None:
    """`kubectl delete job` deletes the pod as well, and the keys are swept before it goes."""
    user.install(user.values(user.env(seconds=600)))
    user.wait_for_k6()
    user.kubectl("delete", "job", NAME, "--wait=false")
    assert "2000 keys deleted" in user.wait_for_event("Swept")
    assert user.keys() == 0


def test_the_deadline_of_the_job(user: ClusterUser) -> None:
    """activeDeadlineSeconds deletes the pod, too: the keys are swept, and the Event has the counts."""
    user.install(user.values(user.env(seconds=600), k6={"activeDeadlineSeconds": 15}))
    assert user.wait_for_job() == "DeadlineExceeded"
    assert "2000 keys deleted" in user.wait_for_event("Swept")
    assert user.keys() == 0


def test_suspend_and_resume(user: ClusterUser) -> None:
    """A suspended Job's pod is swept as it ends, and after the resumption the next pod is swept as well."""
    user.install(user.values(user.env(seconds=20)))
    user.wait_for_k6()
    user.kubectl("patch", "job", NAME, "-p", '{"spec":{"suspend":true}}')
    until(lambda: user.keys() == 0 and not user.pods(f"job-name={NAME}"))
    assert "2000 keys deleted" in user.wait_for_event("Swept")
    user.kubectl("patch", "job", NAME, "-p", '{"spec":{"suspend":false}}')
    user.wait_for_k6()
    message = user.wait_for_message()
    assert (message["status"], message["deleted"]) == ("complete", 2000)
    assert user.keys() == 0
    assert user.wait_for_job() == "Complete"


def test_a_killed_sidecar_waits_again(user: ClusterUser) -> None:
    """The kubelet restarts a native sidecar that is killed during the test, and the keys are swept all the same."""
    user.install(user.values(user.env(seconds=15)))
    user.wait_for_k6()
    user.kill("k6-sweep")
    until(lambda: user.statuses()[0]["restartCount"] == 1)
    assert user.wait_for_job() == "Complete"
    [message] = user.messages()
    assert (message["status"], message["deleted"]) == ("complete", 2000)
    assert user.keys() == 0
    assert "2000 keys deleted" in user.wait_for_event("Swept")


def test_a_sidecar_killed_in_its_sweep_does_not_look_complete(user: ClusterUser) -> None:
    """If k6-sweep is killed in mid-sweep, its last message is `sweeping`, with what it had deleted by then at most."""
    user.install(user.values(user.env(keys=8000, seconds=1), cleanup=SLOW))
    user.wait_for_k6(8000)
    user.wait_for_sweep(below=7000)
    user.kill("k6-sweep")
    assert user.wait_for_job() == "Complete"
    [message] = user.messages()
    left = user.keys()
    assert left > 0
    assert (message["status"], message["exact"]) == ("sweeping", False)
    assert message["deleted"] <= 8000 - left
    assert "Swept" not in user.events()


@contextlib.contextmanager
def frozen_kubelet() -> Iterator[None]:
    """Stop the kubelet's process for as long as the context lasts."""
    frozen = kubelet()
    frozen.suspend()
    try:
        yield
    finally:
        frozen.resume()


def test_a_watcher_that_is_deleted_in_its_sweep(user: ClusterUser) -> None:
    """Its Job starts no second watcher while the first one still sweeps, so the counts are those of one sweep."""
    user.install(user.values(user.env(keys=8000, seconds=1), k6={"parallelism": 2}, cleanup=SLOW))
    user.wait_for_k6(8000)
    user.wait_for_sweep(below=7000)
    user.kubectl("delete", "pod", "-l", f"job-name={NAME}-sweep", "--wait=false")
    assert user.wait_for_job(f"{NAME}-sweep") == "Complete"
    assert "8000 keys deleted" in user.wait_for_event("Swept")
    assert user.keys() == 0
    assert user.pods_created_by(f"{NAME}-sweep") == 1


@pytest.mark.alone
def test_a_restarted_kubelet(user: ClusterUser) -> None:
    """A kubelet that is restarted during the test disturbs neither the wait nor the sweep."""
    user.install(user.values(user.env(seconds=15)))
    user.wait_for_k6()
    kubelet().kill()
    message = user.wait_for_message()
    assert (message["status"], message["deleted"]) == ("complete", 2000)
    assert user.keys() == 0
    assert user.wait_for_job() == "Complete"


@pytest.mark.alone
@pytest.mark.parametrize("detector", ["process", "kubernetes"])
def test_a_frozen_kubelet(user: ClusterUser, detector: str) -> None:
    """While the kubelet hangs across k6's end, processes show that end; by the API, k6-sweep waits for it."""
    user.install(user.values(user.env(seconds=8), cleanup={"detector": detector}))
    user.wait_for_k6()
    [k6] = user.processes("k6")
    with frozen_kubelet():
        until(lambda: not k6.is_running() or k6.status() == psutil.STATUS_ZOMBIE)
        if detector == "process":
            until(lambda: user.keys() == 0)
        else:
            time.sleep(60)  # several lists and watches of the detector
            assert user.keys() == 2000
    message = user.wait_for_message()
    assert (message["status"], message["deleted"]) == ("complete", 2000)
    assert user.keys() == 0
    assert user.wait_for_job() == "Complete"
