"""A separate watcher for a Job with any number of pods, a TestRun, or pods by their labels."""

import itertools
import signal
from dataclasses import dataclass

import pytest

from k6_sweep.demo.servers import Node
from tests.acceptance.pod import Sidecar
from tests.kubernetes.rig import READ_PODS, RUNNING, Manifest, Namespace, Watchers, kept, pod, terminated
from tests.support import until

READ_JOBS = [*READ_PODS, {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["list", "watch"]}]
READ_TEST_RUNS = [*READ_PODS, {"apiGroups": ["k6.io"], "resources": ["testruns"], "verbs": ["list", "watch"]}]


def job(**spec: object) -> Manifest:
    """Return a Job named load-test."""
    template = {"spec": pod("any")["spec"]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "load-test"},
        "spec": {"template": template, **spec},
    }


@dataclass
class LoadTest:
    """A Job's pods, its status, and its watcher."""

    namespace: Namespace
    watcher: Sidecar
    redis: Node

    def pods(self, *names: str) -> None:
        """Start pods of the Job with a running k6."""
        uid = self.namespace.api.ask("GET", self.namespace.path("Job", "load-test"))["metadata"]["uid"]
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "load-test", "uid": uid, "controller": True}
        for name in names:
            made = pod(name, labels={"job-name": "load-test"}, terminationGracePeriodSeconds=3)
            made["metadata"]["ownerReferences"] = [owner]
            self.namespace.create(made)
            self.namespace.k6_is(name, RUNNING)

    def goes_on(self, seconds: float = 1.0) -> bool:
        """Return whether nothing is swept for these seconds."""
        return self.watcher.still_waits(seconds) and kept(self.redis)

    def is_over(self, condition: str, reason: str = "") -> None:
        """Set the Job's condition Complete or Failed."""
        moment = "2026-11-22T07:06:00Z"
        why = {"Complete": "SuccessCriteriaMet", "Failed": "FailureTarget"}[condition]
        said = {"status": "True", "lastTransitionTime": moment, "reason": reason, "message": reason}
        done = {"completionTime": moment} if condition == "Complete" else {}
        self.namespace.status(
            "Job",
            "load-test",
            {
                "startTime": "2026-11-22T07:00:00Z",
                "conditions": [{"type": why, **said}, {"type": condition, **said}],
                **done,
            },
        )


@pytest.fixture
def start(namespace: Namespace, watchers: Watchers, redis_node: Node) -> "Start":
    return Start(namespace, watchers, redis_node)


@dataclass
class Start:
    """Starts a Job and its watcher."""

    namespace: Namespace
    watchers: Watchers
    redis: Node

    def __call__(self, *options: str, **spec: object) -> LoadTest:
        self.namespace.create(job(**spec))
        account = self.namespace.account(READ_JOBS)
        watcher = self.watchers.start(account, "--target", "job/load-test", *options)
        return LoadTest(self.namespace, watcher, self.redis)


def test_a_job_of_three_pods(start: Start) -> None:
    """The Job is over once three pods succeeded, even before it is Complete."""
    test = start(parallelism=3, completions=3)
    test.pods("a", "b", "c")
    until(lambda: test.watcher.says("k6 is running"))
    test.namespace.k6_is("b", terminated(0))
    assert test.goes_on()
    test.namespace.k6_is("a", terminated(99))
    assert test.goes_on()
    test.namespace.k6_is("c", terminated(0))
    assert test.goes_on(), "a failed pod is tried again"
    test.pods("d")
    test.namespace.k6_is("d", terminated(0))
    report = test.watcher.report()
    assert (report["status"], report["k6"]["exit_code"]) == ("complete", 0), "three have succeeded, as the Job counts"


def test_a_pod_that_other_containers_keep_alive(start: Start) -> None:
    """The watcher sweeps after k6, even if an endless mesh container keeps the Job from being Complete."""
    test = start(completions=1)
    test.pods("a")
    test.namespace.k6_is("a", terminated(0), phase="Running")
    report = test.watcher.report()
    assert (report["status"], report["k6"]["exit_code"]) == ("complete", 0)


def test_failures_are_tried_again_up_to_the_limit(start: Start) -> None:
    """The test is over only after the last pod that backoffLimit allows."""
    test = start(backoffLimit=1)
    test.pods("a")
    test.namespace.k6_is("a", terminated(107), phase="Failed")
    assert test.goes_on()
    test.pods("b")
    assert test.goes_on()
    test.namespace.k6_is("b", terminated(99), phase="Failed")
    report = test.watcher.report()
    assert (report["status"], report["k6"]["exit_code"]) == ("complete", 107)


def test_a_pod_that_failed_after_k6_is_tried_again_too(start: Start) -> None:
    """A failed pod is no success, even if its k6 exited with 0: the Job starts another one."""
    test = start(backoffLimit=3)
    test.pods("a")
    test.namespace.k6_is("a", terminated(0), phase="Failed")
    assert test.goes_on()
    test.pods("b")
    test.namespace.k6_is("b", terminated(0), phase="Succeeded")
    assert test.watcher.report()["status"] == "complete"


def test_a_failed_job_without_a_second_try(start: Start) -> None:
    """With backoffLimit 0 the first failure ends the test, and --when success sweeps nothing."""
    test = start("--when", "success", backoffLimit=0)
    test.pods("a")
    test.namespace.k6_is("a", terminated(99))
    report = test.watcher.report()
    assert (report["status"], report["k6"]["exit_code"]) == ("skipped", 99)
    assert kept(test.redis)


def test_complete_counts_more_than_a_failed_try(start: Start) -> None:
    """A Complete Job counts as success, even with failed pods before."""
    test = start("--when", "success", backoffLimit=3)
    test.pods("a", "b")
    test.namespace.k6_is("a", terminated(107), phase="Failed")
    test.namespace.k6_is("b", terminated(0), phase="Succeeded")
    test.is_over("Complete")
    report = test.watcher.report()
    assert (report["status"], report["k6"]["exit_code"]) == ("complete", 0)


def test_failed_by_its_own_rules(start: Start) -> None:
    """Under a pod failure policy the Job's condition decides if more pods come."""
    rules = [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [99]}}]
    test = start("--when", "failure", backoffLimit=6, podFailurePolicy={"rules": rules})
    test.pods("a")
    test.namespace.k6_is("a", terminated(99), phase="Failed")
    assert test.goes_on()
    test.is_over("Failed", "PodFailurePolicy")
    report = test.watcher.report()
    assert (report["status"], report["k6"]["exit_code"]) == ("complete", 99)


@pytest.mark.parametrize("limit", [0, 6])
def test_a_suspended_job_is_not_over(limit: int, start: Start) -> None:
    """The watcher waits for a suspended Job at any backoffLimit: deleted pods are no failures."""
    test = start(suspend=True, backoffLimit=limit)
    assert test.goes_on()
    test.namespace.api.patch(test.namespace.path("Job", "load-test"), {"spec": {"suspend": False}})
    test.pods("a")
    until(lambda: test.watcher.says("k6 is running"))
    test.namespace.api.patch(test.namespace.path("Job", "load-test"), {"spec": {"suspend": True}})
    test.namespace.delete("Pod", "a", grace=1)
    test.namespace.k6_is("a", terminated(105), phase="Failed")
    test.namespace.delete("Pod", "a")
    test.namespace.api.patch(test.namespace.path("Job", "load-test"), {"spec": {"suspend": False}})
    assert test.goes_on(5)
    test.pods("b")
    test.namespace.k6_is("b", terminated(0), phase="Succeeded")
    report = test.watcher.report()
    assert (report["status"], report["k6"]["exit_code"]) == ("complete", 0)


def test_the_watchers_own_end_is_none_of_k6(start: Start) -> None:
    """A watcher that gets SIGTERM while k6 runs elsewhere sweeps nothing, and reports it."""
    test = start("--grace-period", "4", "--timeout", "1")
    test.pods("a")
    until(lambda: test.watcher.says("k6 is running"))
    test.watcher.process.send_signal(signal.SIGTERM)
    report = test.watcher.report()
    assert (report["status"], report["deleted"], test.watcher.process.returncode) == ("incomplete", 0, 3)
    assert "nothing was swept (pod a: running)" in report["errors"][0]
    assert kept(test.redis)


def test_a_deleted_job(start: Start) -> None:
    """After a Job's deletion the watcher waits for the remaining pods and their grace period."""
    test = start()
    test.pods("a")
    until(lambda: test.watcher.says("k6 is running"))
    test.namespace.delete("Job", "load-test")
    assert test.goes_on()
    test.namespace.delete("Pod", "a")
    assert test.goes_on(2)
    report = test.watcher.report()
    assert (report["status"], report["k6"]["ended"]) == ("complete", True)


def test_a_job_that_was_created_again(start: Start) -> None:
    """A new Job with the same name is the current test, so the watcher waits for it before the sweep."""
    test = start(backoffLimit=0)
    test.pods("a")
    until(lambda: test.watcher.says("k6 is running"))
    test.namespace.delete("Job", "load-test")
    test.namespace.create(job(backoffLimit=0))
    test.namespace.k6_is("a", terminated(137))
    assert test.goes_on()
    test.pods("b")
    test.namespace.k6_is("b", terminated(0))
    report = test.watcher.report()
    assert (report["status"], report["k6"]["exit_code"]) == ("complete", 0)


def test_a_job_that_is_over_while_a_k6_runs_on(start: Start) -> None:
    """The watcher waits for a pod that still runs after its Job failed by a deadline."""
    test = start(backoffLimit=0)
    test.pods("a")
    until(lambda: test.watcher.says("k6 is running"))
    test.is_over("Failed", "DeadlineExceeded")
    assert test.goes_on()
    test.namespace.k6_is("a", terminated(137))
    report = test.watcher.report()
    assert (report["status"], report["k6"]["exit_code"]) == ("complete", 137)


def test_a_job_that_was_gone_before_the_start(namespace: Namespace, watchers: Watchers, redis_node: Node) -> None:
    """A restarted watcher knows a deleted Job by its pods, and ends after them."""
    namespace.create(pod("a", labels={"job-name": "load-test"}))
    namespace.k6_is("a", RUNNING)
    watcher = watchers.start(namespace.account(READ_JOBS), "--target", "job/load-test", "--start-timeout", "5")
    until(lambda: watcher.says("k6 is running"))
    assert watcher.still_waits()
    namespace.k6_is("a", terminated(0))
    assert watcher.report()["status"] == "complete"
    assert not kept(redis_node)


def test_no_such_job(namespace: Namespace, watchers: Watchers, redis_node: Node) -> None:
    """The report names a Job that does not exist, after --start-timeout."""
    account = namespace.account(READ_JOBS)
    report = watchers.start(account, "--target", "job/laod-test", "--start-timeout", "1").report()
    assert report["status"] == "unseen"
    assert f"job/laod-test has no pods in namespace {namespace.name}" in report["errors"][0]
    assert kept(redis_node)


RUNNER = {"app": "k6", "k6_cr": "load-test", "runner": "true"}
HELPER = {"app": "k6", "k6_cr": "load-test", "job-name": "load-test-initializer"}


@dataclass
class Run:
    """A TestRun and its watcher."""

    namespace: Namespace
    watcher: Sidecar
    redis: Node
    numbers: "itertools.count[int]"

    def stage(self, name: str) -> None:
        """Set the stage, as k6-operator does."""
        self.namespace.status("TestRun", "load-test", {"stage": name})

    def runner(self) -> str:
        """Start a runner."""
        name = f"load-test-{next(self.numbers)}"
        self.namespace.create(pod(name, labels=RUNNER, terminationGracePeriodSeconds=3))
        self.namespace.k6_is(name, RUNNING)
        return name

    def goes_on(self, seconds: float = 1.0) -> bool:
        """Return whether nothing is swept for these seconds."""
        return self.watcher.still_waits(seconds) and kept(self.redis)


@pytest.fixture
def run(test_runs: None, namespace: Namespace, watchers: Watchers, redis_node: Node) -> Run:  # noqa: ARG001  # must exist first
    namespace.create(
        {
            "apiVersion": "k6.io/v1alpha1",
            "kind": "TestRun",
            "metadata": {"name": "load-test"},
            "spec": {"parallelism": 2, "script": {"configMap": {"name": "test"}}, "cleanup": "post"},
        }
    )
    watcher = watchers.start(namespace.account(READ_TEST_RUNS), "--target", "testrun/load-test")
    return Run(namespace, watcher, redis_node, itertools.count(1))


def test_a_test_run_from_stage_to_stage(run: Run) -> None:
    """A TestRun is over once its stage is final and its runners ended; the initializer does not count."""
    run.stage("initialization")
    run.namespace.create(pod("load-test-initializer-x", labels=HELPER))
    run.namespace.k6_is("load-test-initializer-x", RUNNING)
    run.namespace.k6_is("load-test-initializer-x", terminated(0), phase="Succeeded")
    assert run.goes_on()
    for stage in ("initialized", "created"):
        run.stage(stage)
    first, second = run.runner(), run.runner()
    run.stage("started")
    until(lambda: run.watcher.says("k6 is running"))
    run.namespace.k6_is(first, terminated(0), phase="Succeeded")
    assert run.goes_on()
    run.stage("stopped")
    assert run.goes_on(), "a runner still runs"
    run.namespace.k6_is(second, terminated(99), phase="Failed")
    run.stage("finished")
    report = run.watcher.report()
    assert (report["status"], report["k6"]["exit_code"]) == ("complete", 99)


def test_a_test_run_that_is_deleted_when_it_is_done(run: Run) -> None:
    """The watcher sweeps after `cleanup: post` deletes the TestRun and its pods."""
    name = run.runner()
    run.stage("started")
    until(lambda: run.watcher.says("k6 is running"))
    run.namespace.k6_is(name, terminated(0), phase="Succeeded")
    assert run.goes_on()
    run.namespace.delete("TestRun", "load-test")
    run.namespace.delete("Pod", name)
    assert run.watcher.report()["status"] == "complete"


def test_a_test_run_that_failed_before_it_ran(run: Run) -> None:
    """A TestRun in error that never had a runner is unseen, and no key is deleted."""
    run.stage("initialization")
    run.stage("error")
    report = run.watcher.report()
    assert (report["status"], run.watcher.process.returncode) == ("unseen", 6)
    assert kept(run.redis)


def test_pods_by_their_labels(namespace: Namespace, watchers: Watchers, redis_node: Node) -> None:
    """A selector's test is over once its pods ended; older pods, k6-operator's helpers and others do not count."""
    namespace.create(pod("of-yesterday", labels={"app": "k6"}))
    namespace.k6_is("of-yesterday", terminated(99), phase="Failed")
    for name, labels in (("x-initializer", HELPER), ("x-1", RUNNER), ("x-2", RUNNER)):
        namespace.create(pod(name, labels=labels))
    namespace.create(pod("other", labels={"app": "k6"}, containers=("proxy",)))
    watcher = watchers.start(namespace.account(READ_PODS), "--target", "selector:app=k6")
    namespace.k6_is("x-initializer", terminated(0), phase="Succeeded")
    assert watcher.still_waits()
    namespace.k6_is("x-1", RUNNING)
    namespace.k6_is("x-1", terminated(0), phase="Succeeded")
    assert watcher.still_waits()
    assert kept(redis_node)
    namespace.k6_is("x-2", RUNNING)
    namespace.k6_is("x-2", terminated(0), phase="Succeeded")
    report = watcher.report()
    assert (report["status"], report["k6"]["exit_code"]) == ("complete", 0)


def test_a_selector_that_is_none(namespace: Namespace, watchers: Watchers) -> None:
    """A malformed selector is an error at once, with the server's message."""
    report = watchers.start(namespace.account(READ_PODS), "--target", "selector:app in k6").report()
    assert report["status"] == "error"
    assert "unable to parse requirement" in report["errors"][0]
