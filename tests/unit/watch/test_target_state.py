"""The state of a target that follows from news about it, in any order."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k6_sweep.kube.controllers import Job
from k6_sweep.kube.controllers import TestRun as Run
from k6_sweep.kube.pods import K6Pod, read_pod
from k6_sweep.settings.target import Target
from k6_sweep.watch.target_state import LINGER, TargetState

NEW = replace(
    read_pod({"metadata": {"uid": "a", "name": "a"}}, ["k6"]), has_k6=True, grace_period=5, own_grace_period=5
)
RUNS = replace(NEW, ran=True)
ENDED = replace(RUNS, ended=True, exit_code=0)
JOB = Job.read({"spec": {"completions": 2, "parallelism": 2, "backoffLimit": 0}})
SOON = datetime(2026, 11, 22, 7, 5, tzinfo=UTC)
TWO = [replace(ENDED, uid=uid, name=uid) for uid in "ab"]


def known(target: str = "pod/a") -> TargetState:
    return TargetState(Target.parse(target), "load-test")


def test_a_pod_that_disappears_may_run_on() -> None:
    """A pod that disappears without an end counts as alive for its grace period; one that ended does not."""
    it = known()
    it.pods_are([RUNS], 10)
    it.pods_are([], 20)
    assert (it.verdict(24.9).ended, it.verdict(24.9).changes) == (False, 25)
    assert it.verdict(25).ended
    it.pods_are([RUNS], 21)
    assert not it.verdict(26).ended, "it has come back"
    it.pod_is_gone(ENDED, 30)
    assert it.verdict(30).ended


def test_an_end_is_believed_whatever_comes_later() -> None:
    """Older news that arrives late does not revive an ended k6."""
    it = known()
    it.pod_is(ENDED)
    it.pods_are([RUNS], 1)
    assert it.verdict(1).ended


def test_a_deletion_by_force_ends_nothing() -> None:
    """A deletion with grace period 0 ends nothing: it comes from the client that deletes, not from the node."""
    it = known()
    it.pod_is(RUNS)
    it.pod_is_gone(replace(RUNS, grace_period=0), 10)
    assert not it.verdict(14).ended
    assert it.verdict(15).ended


def test_a_job_is_over_with_its_last_pod() -> None:
    """A Job with two completions is over after two ends; a created pod counts before it runs."""
    it = known("job/x")
    it.controller_is(JOB)
    assert (it.verdict(0).seen, it.verdict(0).ended) == (False, False)
    it.pods_are(TWO[:1], 1)
    assert not it.verdict(1).ended
    it.pod_is(replace(NEW, uid="b"))
    assert not it.verdict(1).ended
    it.pod_is(TWO[1])
    assert it.verdict(1).ended


@pytest.mark.parametrize(
    ("spec", "status", "more"),
    [
        ({"completions": 1}, {}, True),
        ({"completions": 3, "backoffLimit": 0}, {}, True),
        ({"completions": 3}, {"succeeded": 3}, False),
        ({"completions": None, "parallelism": 5}, {"succeeded": 1}, False),
        ({"completions": None, "parallelism": 5}, {}, True),
        ({"backoffLimit": 2}, {"failed": 2}, True),
        ({"backoffLimit": 2}, {"failed": 3}, False),
        ({"backoffLimit": 0, "backoffLimitPerIndex": 1}, {"failed": 3}, True),
        ({"backoffLimit": 0, "podFailurePolicy": {"rules": []}}, {"failed": 3}, True),
        ({"completions": 1, "suspend": True}, {"succeeded": 1}, True),
        ({"completions": 1, "parallelism": 0}, {}, True),
        ({}, {"conditions": [{"type": "Complete", "status": "True"}]}, False),
        ({}, {"conditions": [{"type": "Failed", "status": "False"}]}, True),
        ({}, {"conditions": [{"type": "FailureTarget", "status": "True"}]}, False),
        ({"suspend": "yes"}, {"conditions": "?"}, True),
        (None, None, True),
    ],
)
def test_whether_a_job_starts_more_pods(spec: object, status: object, more: bool) -> None:
    """A Job's completions, parallelism, back-off limit and conditions decide if more pods start; in doubt, they do."""
    assert Job.read({"spec": spec, "status": status}).expects_more([]) == more


def test_overdue_once_the_controller_is_over() -> None:
    """The pods of a Job that is over are overdue their grace period and a minute after the first news of its end."""
    it = known("job/x")
    it.pods_are([RUNS], 0)
    it.controller_is(JOB)
    assert it.verdict(0).overdue is None
    for condition in ("FailureTarget", "Failed"):
        it.controller_is(replace(JOB, conditions={condition: "DeadlineExceeded"}))
        assert it.verdict(10).overdue == 10 + LINGER + 5
        assert it.verdict(20).overdue == 10 + LINGER + 5
    it.controller_is(JOB)
    assert it.verdict(30).overdue is None, "made anew"


def test_a_deleted_job_whose_pods_live_on_is_not_overdue() -> None:
    """Orphans of a deleted Job are never overdue; pods that are being deleted are, some time later."""
    it = known("job/x")
    it.pods_are([RUNS], 0)
    it.controller_is(JOB)
    it.controller_is(None)
    assert (it.verdict(10).ended, it.verdict(10).overdue) == (False, None)
    it.pod_is(replace(RUNS, deleted_by=SOON))
    assert it.verdict(20).overdue == 20 + LINGER + 5
    it.pod_is(ENDED)
    assert it.verdict(21).ended


def test_a_job_that_was_gone_before_we_looked() -> None:
    """The pods prove that a Job existed before the watch; after their end it is over once its absence is believed."""
    it = TargetState(Target.parse("job/x"), "load-test", believes_absence_from=300)
    it.controller_is(None)
    assert not it.verdict(0).ended
    it.pods_are([RUNS], 0)
    assert not it.verdict(0).ended
    it.pods_are([ENDED], 1)
    assert (it.verdict(1).ended, it.verdict(1).changes) == (False, 300), "the next one may yet come"
    assert it.verdict(300).ended


def test_a_job_deleted_before_it_had_pods() -> None:
    """A Job deleted without pods may be created again, as in a forced replacement: --start-timeout decides."""
    it = known("job/x")
    it.controller_is(JOB)
    it.controller_is(None)
    it.pods_are([], 1)
    assert not it.verdict(1000).ended


def test_a_former_jobs_k6_is_not_this_ones() -> None:
    """A former Job's terminating pod is waited for, but does not make this Job's k6 seen."""
    it = known("job/x")
    it.pods_are([replace(RUNS, owner="1")], 0)
    it.controller_is(replace(JOB, uid="2"))
    assert (it.verdict(0).seen, it.verdict(0).ended) == (False, False)


def test_the_first_cause_is_reported_not_what_followed() -> None:
    """The outcome is that of the first failed pod, not of the pods that the Job deleted because of it."""
    deleted = [replace(ENDED, uid=uid, exit_code=105, deleted_by=SOON) for uid in "ab"]
    it = known("job/x")
    it.pods_are([*deleted, replace(ENDED, uid="c", exit_code=99)], 0)
    it.controller_is(JOB)
    assert it.outcome(0, seen=True, ended=True).exit_code == 99


def test_a_work_queue_fails_by_its_limit_first() -> None:
    """Without completions one success is enough, unless there are more failures than the Job allows."""
    job = Job.read({"spec": {"parallelism": 3, "backoffLimit": 0}})
    assert job.passed([*TWO, replace(ENDED, exit_code=99)]) is False
    assert job.passed(TWO) is True


def test_pods_that_the_job_deletes_are_no_failures() -> None:
    """Pods that a suspended or scaled-down Job deletes count neither as success nor as failure."""
    it = known("job/x")
    it.controller_is(JOB)
    it.pods_are([RUNS], 0)
    it.pod_is(replace(RUNS, deleted_by=SOON))
    it.pod_is_gone(replace(ENDED, exit_code=105, failed=True, deleted_by=SOON), 1)
    assert not it.verdict(10).ended, "with backoffLimit 0"
    it.pods_are([], 11)
    assert not it.verdict(60).ended
    it.pods_are([replace(RUNS, uid="gone-without-a-word")], 61)
    it.pods_are([], 62)
    assert not it.verdict(70).ended


def test_a_job_that_is_created_again_does_not_inherit() -> None:
    """A Job created again has no success, failure or exit code of the former Job with its name."""
    former = [replace(pod, owner="1", exit_code=code) for pod, code in zip(TWO, (0, 105), strict=True)]
    it = known("job/x")
    it.controller_is(replace(JOB, uid="1", backoff_limit=1))
    it.pods_are(former, 0)
    it.controller_is(None)
    it.controller_is(replace(JOB, uid="2"))
    assert not it.verdict(1).ended
    it.pods_are([replace(ENDED, uid=uid, owner="2") for uid in "cd"], 2)
    assert it.verdict(2).ended
    assert it.outcome(2, seen=True, ended=True).exit_code == 0


def test_the_description_names_what_is_waited_for() -> None:
    """The description names the running pods, or why more may come, or the known facts about the end."""
    it = known("job/x")
    assert it.waits_for(0) == "job/x has no pods in namespace load-test"
    it.controller_is(replace(JOB, backoff_limit=6))
    it.pods_are([replace(RUNS, uid=uid, name=uid) for uid in "edcba"], 0)
    assert it.waits_for(0) == "pod a: running, pod b: running, pod c: running, and 2 other pods"
    it.pods_are([replace(ENDED, exit_code=99, reason="Error")], 0)
    assert "deleted, but its grace period has not ended" in it.waits_for(1)
    assert "job/x may start more pods" in it.waits_for(10)
    it.controller_is(replace(JOB, conditions={"Failed": "BackoffLimitExceeded"}))
    assert it.waits_for(10) == "BackoffLimitExceeded"


def test_a_test_run_is_seen_by_its_stage() -> None:
    """A TestRun that ran counts as seen even without a seen pod; one that failed before it ran does not."""
    for stage, seen in (("finished", True), ("started", True), ("error", False), ("initialization", False)):
        it = known("testrun/x")
        it.controller_is(Run.read({"status": {"stage": stage}}))
        assert it.verdict(0).seen == seen
    ran = {"stage": "error", "conditions": [{"type": "TestRunRunning", "status": "True"}]}
    assert Run.read({"status": ran}).ran


@pytest.mark.parametrize(
    ("pods", "conditions", "code", "passed"),
    [
        (TWO, {}, 0, True),
        ([TWO[0], replace(TWO[1], exit_code=99)], {}, 99, False),
        ([TWO[0], replace(TWO[1], exit_code=None)], {}, None, False),
        ([*TWO, replace(ENDED, uid="c", exit_code=99)], {}, 99, False),
        ([*TWO, replace(ENDED, uid="c", exit_code=None, reason="Evicted")], {"Complete": ""}, 0, True),
        ([TWO[0], replace(TWO[1], exit_code=99)], {"Complete": ""}, 0, True),
        ([TWO[0], replace(TWO[1], exit_code=99)], {"SuccessCriteriaMet": ""}, 0, True),
        (TWO, {"Failed": "DeadlineExceeded"}, 0, False),
        ([], {"Complete": ""}, 0, True),
        ([], {"Failed": "BackoffLimitExceeded"}, None, False),
    ],
)
def test_how_it_went(pods: list[K6Pod], conditions: dict[str, str], code: int | None, passed: bool | None) -> None:
    """The Job's own result decides first, then the first bad exit code, then that all codes are known and good."""
    it = known("job/x")
    it.controller_is(replace(JOB, conditions=conditions))
    it.pods_are(pods, 0)
    outcome = it.outcome(0, seen=True, ended=True)
    assert (outcome.exit_code, outcome.passed) == (code, passed)
    assert outcome.reason or code is None


@pytest.mark.parametrize(
    ("stage", "code", "passed"),
    [
        ("finished", 0, True),
        ("finished", 99, False),
        ("stopped", 0, True),
        ("error", 0, False),
        ("finished", None, None),
    ],
)
def test_how_a_test_run_went(stage: str, code: int | None, passed: bool | None) -> None:
    """The stage `error` is a failure; after `finished` the exit codes of the runners decide."""
    it = known("testrun/x")
    it.pods_are([replace(ENDED, exit_code=code)], 0)
    it.controller_is(Run.read({"status": {"stage": stage}}))
    assert it.verdict(0).ended
    assert it.outcome(0, seen=True, ended=True).passed == passed


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["are", "is", "gone"]),
        st.sampled_from("abc"),
        st.sampled_from([NEW, RUNS, ENDED]),
        st.floats(0, 3),
    )
)


@given(STEPS)
def test_what_may_run_is_never_forgotten(steps: list[tuple[str, str, K6Pod, float]]) -> None:
    """In any order of news, a selector's test is over only if each pod ended or is gone for its grace period."""
    it, now = known("selector:app=k6"), 0.0
    told_ended: set[str] = set()
    last_seen: dict[str, float] = {}
    for kind, uid, state, pause in steps:
        now += pause
        pod = replace(state, uid=uid, name=uid)
        if kind == "are":
            it.pods_are([pod], now)
        elif kind == "is":
            it.pod_is(pod)
        else:
            it.pod_is_gone(pod, now)
        last_seen[uid] = now
        told_ended |= {uid} if pod.ended else set()
        if it.verdict(now).ended:
            assert all(each in told_ended or now - seen >= 5 for each, seen in last_seen.items())
