"""On a real kubelet, each form of the sidecar sweeps the test's keys after k6's end, and nothing else."""

from typing import Any

import pytest

from tests.e2e.cluster_user import NAME, ClusterUser
from tests.support import until


@pytest.mark.parametrize(
    "cleanup",
    [
        {"sidecar": {"mode": "native"}},
        {"sidecar": {"mode": "container"}},
        {"sidecar": {"mode": "native"}, "detector": "kubernetes"},
        {"sidecar": {"mode": "container"}, "detector": "kubernetes"},
    ],
    ids=lambda cleanup: "-".join(map(str, [*cleanup.get("sidecar", {}).values(), cleanup.get("detector", "process")])),
)
def test_the_keys_are_gone_and_the_message_has_the_counts(user: ClusterUser, cleanup: dict[str, Any]) -> None:
    """Message, Event and Job agree with what is left in Redis, in each form and with both detectors."""
    user.install(user.values(cleanup=cleanup))
    message = user.wait_for_message()
    assert (message["status"], message["deleted"], message["exact"]) == ("complete", 2000, True)
    assert message["k6"]["exit_code"] == 0
    assert message["k6"]["detector"] == cleanup.get("detector", "process")
    assert user.keys() == 0
    assert user.wait_for_job() == "Complete"
    assert "2000 keys deleted" in user.wait_for_event("Swept")


def test_by_signal(user: ClusterUser) -> None:
    """With the signal detector, which is not an option of the chart, the kubelet's SIGTERM is the end of the test."""
    env = [{"name": "SWEEP_DETECTOR", "value": "signal"}]
    user.install(user.values(cleanup={"extraEnv": env, "emitEvent": False}))
    message = user.wait_for_message()
    assert (message["status"], message["deleted"]) == ("complete", 2000)
    assert (message["k6"]["detector"], message["k6"]["exit_code"]) == ("signal", None)
    assert user.keys() == 0
    assert user.wait_for_job() == "Complete"


def test_a_failed_preflight_stops_the_test(user: ClusterUser) -> None:
    """If Redis is out of reach, k6 never starts, and the init container's message has the reason."""
    cleanup = {"preflight": {"enabled": True}, "redis": {"url": "redis://10.244.0.1:1"}}
    notes = user.install(user.values(cleanup=cleanup))
    assert user.wait_for_job() == "BackoffLimitExceeded"
    [message] = user.messages("k6-sweep-check")
    assert message["status"] == "failed"
    assert "10.244.0.1:1" in message["errors"][0]
    assert user.keys() == 0
    assert "k6-sweep-check" in notes


def test_what_existed_before_the_test_stays(user: ClusterUser) -> None:
    """With preserveExisting, keys that match the patterns and were there before are spared."""
    user.write(30)
    user.install(user.values(cleanup={"preserveExisting": True}))
    message = user.wait_for_message()
    assert (message["status"], message["deleted"], message["preserved"]) == ("complete", 2000, 30)
    assert user.keys() == 30
    assert user.wait_for_job() == "Complete"


def test_a_failed_sweep_fails_the_job(user: ClusterUser) -> None:
    """With failJob, a guard's refusal makes the Job fail, and the keys stay."""
    user.install(user.values(cleanup={"failJob": True, "guards": {"requireMarker": "no-such-marker"}}))
    message = user.wait_for_message()
    assert message["status"] == "refused"
    assert user.keys() == 2000
    assert user.wait_for_job() == "BackoffLimitExceeded"
    assert "no-such-marker" in user.wait_for_event("SweepRefused")


def test_several_pods_have_one_watcher(user: ClusterUser) -> None:
    """With parallelism 3, the watcher sweeps once, after the last pod: no pod loses keys that it still uses."""
    user.install(user.values(user.env(seconds=8), k6={"parallelism": 3}))
    watcher = f"{NAME}-sweep"
    until(lambda: sum("terminated" in each["state"] for each in user.statuses("k6")) == 2, 120)
    assert user.keys() == 2000  # 8 s after the end of the first pod
    message = user.wait_for_message(job=watcher)
    assert (message["status"], message["deleted"]) == ("complete", 2000)
    assert ["terminated" in each["state"] for each in user.statuses("k6")] == [True] * 3
    assert user.keys() == 0
    assert user.wait_for_job(watcher) == user.wait_for_job() == "Complete"
    assert "2000 keys deleted" in user.wait_for_event("Swept")


@pytest.mark.parametrize(
    ("env", "limits", "code", "reason"),
    [({"THRESHOLD": "count<1"}, {}, 99, "thresholds failed"), ({"HOG_MIB": "4000"}, {"memory": "160Mi"}, 137, None)],
    ids=["thresholds", "out of memory"],
)
def test_a_test_that_fails_is_swept(
    user: ClusterUser, env: dict[str, str], limits: dict[str, str], code: int, reason: str | None
) -> None:
    """A failed threshold and a k6 that runs out of memory are ends like others, and the message has k6's exit code."""
    user.install(user.values(user.env(more=env), k6={"resources": {"limits": limits}}))
    message = user.wait_for_message()
    assert (message["status"], message["deleted"], message["k6"]["exit_code"]) == ("complete", 2000, code)
    assert message["k6"]["reason"] in ([reason] if reason else ["OOMKilled", "killed (often out of memory)"])
    assert user.keys() == 0
    assert user.wait_for_job() == "BackoffLimitExceeded"
    assert "2000 keys deleted" in user.wait_for_event("Swept")


def test_exit_code_of_a_missing_script(user: ClusterUser) -> None:
    """k6's exit code 255 is reported as what it is: k6 did not start the test.

    The API has the code of each end; a k6 that ends within a tenth of a second may be gone before k6-sweep sees it.
    """
    user.install(user.values(k6={"args": ["--no-such-flag"]}, cleanup={"detector": "kubernetes"}))
    message = user.wait_for_message()
    assert message["k6"]["exit_code"] == 255
    assert "signal" not in message["k6"]["reason"]
