"""The notes after an installation: what happens if several tests use one Redis."""

import json
from pathlib import Path

import pytest

from tests.chart.helm import CHART, notes

LAST_OUT = "Several tests on one Redis: the last one out sweeps."


@pytest.mark.parametrize(
    ("scenario", "said"),
    [
        ("guide", "the status is handed-over"),
        ("distributed", "the status is handed-over"),
        ("policy", "the status is handed-over"),
        ("cron", "The cleanup Job refuses to sweep while a test is running"),
        ("api", "The endpoint refuses to sweep while a test is running"),
    ],
)
def test_the_last_one_out_sweeps(scenario: str, said: str) -> None:
    """Each release that sweeps has a note about other tests on its Redis, in the words of its form."""
    text = notes(CHART / "ci" / f"{scenario}-values.yaml")
    assert LAST_OUT in text
    assert said in text
    assert "even if a test is running" not in text


def test_a_release_that_sweeps_nothing() -> None:
    """Without the toggle there is no such note."""
    assert "Nothing cleans up after this test" in (text := notes(CHART / "ci" / "off-values.yaml"))
    assert "Several tests" not in text


def with_values(folder: Path, scenario: str, **values: object) -> str:
    extra = folder / f"more-{len(list(folder.iterdir()))}.yaml"
    extra.write_text(json.dumps(values))
    return notes(CHART / "ci" / f"{scenario}-values.yaml", extra)


def test_where_the_counts_are_without_the_pod(tmp_path: Path) -> None:
    """The notes name the places that still have the counts when the pod is gone, and only those that are set."""
    plain = with_values(tmp_path, "guide")
    assert "No such line means that the pod is gone, and its message with it" in plain
    assert "an Event (cleanup.emitEvent) or metrics (cleanup.pushgatewayUrl)" in plain
    assert "get events" not in plain
    told = with_values(tmp_path, "guide", cleanup={"emitEvent": True, "pushgatewayUrl": "http://gateway"})
    assert "kubectl -n load-test get events | grep Sweep" in told
    assert "in the metrics" in told
    assert "set this value" not in told


def test_a_deadline_takes_the_message(tmp_path: Path) -> None:
    """With activeDeadlineSeconds, the notes recommend the Event, unless it is on, or a watcher has the counts."""
    deadline = {"k6": {"activeDeadlineSeconds": 600}}
    assert "Set cleanup.emitEvent to true" in with_values(tmp_path, "guide", **deadline)
    assert "Set cleanup.emitEvent" not in with_values(tmp_path, "guide", **deadline, cleanup={"emitEvent": True})
    off = with_values(tmp_path, "distributed", **deadline, cleanup={"emitEvent": False})
    assert "Set cleanup.emitEvent" not in off


def test_labelled_jobs(tmp_path: Path) -> None:
    """The notes of a label policy have the command for a Job's counts, and no test that the guard would refuse."""
    text = with_values(tmp_path, "policy")
    assert "kubectl -n NAMESPACE get pod -l job-name=JOB -o jsonpath=" in text
    assert "helm test test-release -n load-test" in text
    elsewhere = with_values(tmp_path, "policy", cleanup={"guards": {"allowedNamespaces": ["shop-*"]}})
    assert "helm test" not in elsewhere
    assert "Nothing cleans up" not in elsewhere
    assert "helm test" in with_values(tmp_path, "policy", cleanup={"guards": {"allowedNamespaces": [], "maxKeys": 1}})
    assert "job-name=JOB" not in with_values(tmp_path, "guide")


def test_the_init_containers_are_named(tmp_path: Path) -> None:
    """If an init container of k6-sweep can stop the test, the notes name it and the command for its log."""
    text = with_values(tmp_path, "preserve-existing")
    assert "If k6 did not start, an init container has the reason: k6-sweep-check" in text
    assert "kubectl -n load-test logs job/load-test -c k6-sweep-check" in text
    only = with_values(tmp_path, "preserve-existing", cleanup={"preflight": {"enabled": False}})
    assert "logs job/load-test -c k6-sweep-snapshot" in only
    assert "k6-sweep-check" not in only
    assert "an init container has the reason" not in with_values(tmp_path, "guide")


def test_settings_that_change_it(tmp_path: Path) -> None:
    """With SWEEP_COORDINATE=off the note is a warning; with SWEEP_EVEN_DURING_TESTS nothing is refused."""

    def with_env(scenario: str, name: str, value: str) -> str:
        extra = tmp_path / "values.yaml"  # as JSON: for Helm, off without quotes is a boolean
        extra.write_text(json.dumps({"cleanup": {"extraEnv": [{"name": name, "value": value}]}}))
        return notes(CHART / "ci" / f"{scenario}-values.yaml", extra)

    off = with_env("guide", "SWEEP_COORDINATE", "off")
    assert "deletes keys that other tests still use" in off
    assert LAST_OUT not in off
    assert "refuses to sweep" not in with_env("cron", "SWEEP_EVEN_DURING_TESTS", "true")


@pytest.mark.parametrize(("scenario", "kind"), [("distributed", "Job"), ("test-run", "TestRun")])
def test_an_uninstall_takes_the_watcher(scenario: str, kind: str) -> None:
    """The notes of a test with a watcher warn that an uninstall during the test ends the watcher, too."""
    text = notes(CHART / "ci" / f"{scenario}-values.yaml")
    assert f"To stop the test, delete the {kind} " in text
    assert "To stop the test" not in notes(CHART / "ci" / "guide-values.yaml")
