"""The Argo CD and Flux examples have values of the chart, and their test cleans up."""

from pathlib import Path

import pytest

from tests.chart.helm import ROOT, manifests, render, written

VALUES = {
    "argocd-application": ("source", "helm", "valuesObject"),
    "flux-helmrelease": ("values",),
}


@pytest.mark.parametrize("name", VALUES)
def test_the_values_are_the_charts(name: str, tmp_path: Path) -> None:
    """The chart accepts the examples' values unchanged, and makes the sidecar of them."""
    (manifest,) = manifests((ROOT / "examples" / "gitops" / f"{name}.yaml").read_text())
    values = manifest["spec"]
    for step in VALUES[name]:
        values = values[step]
    rendered = render(written(tmp_path, values))
    assert [each["name"] for each in rendered.test_pod["initContainers"]] == ["k6-sweep"]
    annotations = values.get("commonAnnotations")
    assert all(
        (annotations or {}).items() <= each["metadata"].get("annotations", {}).items() for each in rendered.manifests
    )
