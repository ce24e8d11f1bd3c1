"""A parent chart gets the sidecar from k6-sweep's chart."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.chart.helm import BINARIES, ROOT, Rendered, render, run_helm, written

SWEEP = "k6-sweep"


@pytest.fixture(params=BINARIES)
def parent(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Rendered]:
    """Render the example with its dependency, as after `helm dependency build`."""
    chart = tmp_path / "examples" / "parent-chart"
    shutil.copytree(ROOT / "examples" / "parent-chart", chart)
    shutil.copytree(ROOT / "charts", tmp_path / "charts")
    run_helm(request.param, "dependency", "update", str(chart))

    def with_values(version: str = "1.30", **values: object) -> Rendered:
        return render(written(tmp_path, {SWEEP: values}), binary=request.param, version=version, chart=chart)

    return with_values


def job_pod(rendered: Rendered) -> dict[str, Any]:
    spec: dict[str, Any] = rendered.of("Job")["spec"]["template"]["spec"]
    return spec


def test_the_parents_job_cleans_up(parent: Callable[..., Rendered]) -> None:
    """The sidecar in the parent's Job equals, field by field, the one in the chart's own Job."""
    theirs = job_pod(parent())
    ours = render(ROOT / "charts/k6-sweep/ci/guide-values.yaml", version="1.30").test_pod
    (native,) = theirs["initContainers"]
    (expected,) = ours["initContainers"]
    assert native == expected
    assert theirs["shareProcessNamespace"] is True
    assert theirs["terminationGracePeriodSeconds"] == ours["terminationGracePeriodSeconds"]
    assert [each["name"] for each in theirs["volumes"]] == ["scripts", "k6-sweep-files"]


def test_the_user_of_the_parents_k6_is_not_guessed(parent: Callable[..., Rendered]) -> None:
    """Without cleanup.k6User the sidecar takes every user's k6: the chart's own values say nothing of the parent's."""
    (native,) = job_pod(parent(cleanup={"k6User": None}))["initContainers"]
    assert "SWEEP_K6_USER" not in str(native)


def test_on_an_older_cluster_and_by_the_api(parent: Callable[..., Rendered]) -> None:
    """An ordinary sidecar comes before k6, and the dependency brings what the API detector needs."""
    rendered = parent(version="1.28", cleanup={"detector": "kubernetes"})
    pod = job_pod(rendered)
    assert [each["name"] for each in pod["containers"]] == [SWEEP, "k6"]
    assert "initContainers" not in pod
    assert "serviceAccountName" not in pod
    assert rendered.of("Role")["rules"]
    assert rendered.of("RoleBinding")["subjects"][0]["name"] == "default"


def test_switched_off(parent: Callable[..., Rendered]) -> None:
    """Without the toggle the parent's manifests contain nothing of k6-sweep."""
    rendered = parent(cleanup={"enabled": False})
    assert rendered.kinds() == ["Job"]
    assert "SWEEP_" not in str(rendered.manifests)
