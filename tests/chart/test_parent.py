"""A parent chart gets the sidecar from k6-sweep's chart."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.chart.helm import BINARIES, ROOT, HelmRefusedError, Rendered, render, run_helm, written

SWEEP = "k6-sweep"


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """A copy of the example, before `helm dependency update`."""
    chart = tmp_path / "examples" / "parent-chart"
    shutil.copytree(ROOT / "examples" / "parent-chart", chart)
    shutil.copytree(ROOT / "charts", tmp_path / "charts")
    return chart


@pytest.fixture(params=BINARIES)
def parent(request: pytest.FixtureRequest, tmp_path: Path, example: Path) -> Callable[..., Rendered]:
    """Render the example with its dependency, as after `helm dependency build`."""
    run_helm(request.param, "dependency", "update", str(example))

    def with_values(version: str = "1.30", **values: object) -> Rendered:
        return render(written(tmp_path, {SWEEP: values}), binary=request.param, version=version, chart=example)

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


def replaced(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


@pytest.mark.parametrize("binary", BINARIES)
def test_an_alias(binary: str, example: Path) -> None:
    """With an alias, the alias is the key of the context and of the values."""
    replaced(example / "Chart.yaml", "  - name: k6-sweep\n", "  - name: k6-sweep\n    alias: sweep\n")
    replaced(example / "values.yaml", "k6-sweep:\n", "sweep:\n")
    run_helm(binary, "dependency", "update", str(example))
    with pytest.raises(HelmRefusedError, match="needs the context of this chart: pass it index"):
        render(binary=binary, chart=example)
    replaced(example / "templates/job.yaml", 'index .Subcharts "k6-sweep"', 'index .Subcharts "sweep"')
    assert [each["name"] for each in job_pod(render(binary=binary, chart=example))["initContainers"]] == [SWEEP]


@pytest.mark.parametrize("binary", BINARIES)
@pytest.mark.parametrize(
    "template", ["podSpec", "podSpec.initContainers", "podSpec.volumes", "nativeSidecar", "container"]
)
def test_the_context_of_another_chart(binary: str, template: str, example: Path) -> None:
    """A template that gets the parent's own context is refused in a sentence."""
    run_helm(binary, "dependency", "update", str(example))
    (example / "templates" / "job.yaml").write_text(f'{{{{ include "k6-sweep.{template}" . }}}}\n')
    with pytest.raises(HelmRefusedError, match="needs the context of this chart: pass it index"):
        render(binary=binary, chart=example)
