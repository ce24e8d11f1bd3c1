"""Of several Jobs with the same labels, a watcher waits for the one of its test."""

from typing import Any

from k6_sweep.kube.controllers import read_controller
from k6_sweep.kube.follow import Changed, Listed
from k6_sweep.kube.roles import JOBS
from k6_sweep.watch.labelled_jobs import LabelledJobs


def job(uid: str, hour: int, *, over: bool = False) -> dict[str, Any]:
    conditions = [{"type": "Complete", "status": "True"}] if over else []
    created = f"2026-11-26T{hour:02}:00:00Z"
    return {"metadata": {"uid": uid, "creationTimestamp": created}, "status": {"conditions": conditions}}


def listed(*jobs: dict[str, Any]) -> Listed:
    return Listed(JOBS, jobs, 0.0)


def uid_of(raw: object) -> str | None:
    return None if raw is None else read_controller("job-selector", raw).uid


def test_a_job_of_an_earlier_test_does_not_count() -> None:
    """A Job that was over before the watcher started is no reason to sweep; the one that comes is waited for."""
    jobs = LabelledJobs()
    assert uid_of(jobs.current(listed(job("old", 1, over=True)))) is None
    assert uid_of(jobs.current(Changed(JOBS, job("new", 2), deleted=False))) == "new"
    assert uid_of(jobs.current(listed(job("new", 2, over=True), job("old", 1, over=True)))) == "new"


def test_the_newest_counts() -> None:
    """Of two Jobs, the newest counts, and after its deletion the other."""
    jobs = LabelledJobs()
    assert uid_of(jobs.current(listed(job("b", 2), job("a", 1)))) == "b"
    assert uid_of(jobs.current(Changed(JOBS, job("b", 2), deleted=True))) == "a"
    assert uid_of(jobs.current(Changed(JOBS, job("a", 1), deleted=True))) is None
