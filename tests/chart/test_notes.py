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
