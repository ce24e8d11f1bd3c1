"""The READMEs' instructions for the chart and for inject work as written."""

import io
import re
import shlex
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from k6_sweep.inject.command import inject
from tests.chart.helm import (
    BINARIES,
    CHART,
    REGISTRY,
    ROOT,
    HelmRefusedError,
    env_of,
    manifests,
    render,
    run_helm,
    written,
)

PAGES = ("README.md", "charts/k6-sweep/README.md")


@pytest.mark.parametrize("page", PAGES)
def test_the_values_make_the_sidecar(page: str, tmp_path: Path) -> None:
    """The README's values block is enough to get the sidecar."""
    (block,) = re.findall(r"```yaml\n# values\.yaml\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    pod = render(written(tmp_path, YAML(typ="safe").load(block))).test_pod
    assert [each["name"] for each in pod["initContainers"]] == ["k6-sweep"]
    assert len(block.split("cleanup:")[1].strip().splitlines()) <= 5


@pytest.mark.parametrize("binary", BINARIES)
def test_without_a_registry_the_chart_refuses(binary: str, tmp_path: Path) -> None:
    """Without image.registry, Helm refuses and shows how to build the image; without k6-sweep it needs none."""
    (block,) = re.findall(r"```yaml\n# values\.yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    values = written(tmp_path, {**YAML(typ="safe").load(block), "image": {"registry": ""}})
    with pytest.raises(HelmRefusedError, match=r"image.registry is empty.*docker build -t REGISTRY/k6-sweep:"):
        render(values, binary=binary)
    assert render(written(tmp_path, {"image": {"registry": ""}, "k6": {"script": "//"}}), binary=binary).of("Job")


def test_the_head_of_the_values_makes_the_sidecar(tmp_path: Path) -> None:
    """The lines at the top of values.yaml are enough to get the sidecar."""
    head = (ROOT / "charts/k6-sweep/values.yaml").read_text().partition("\n\n")[0]
    block = "\n".join(line.removeprefix("#   ") for line in head.splitlines() if line.startswith("#   "))
    assert render(written(tmp_path, YAML(typ="safe").load(block))).test_pod["initContainers"]


def test_the_inject_line_makes_the_sidecar() -> None:
    """The README's inject command adds the sidecar to the hand-written k6 Job of the examples."""
    (line,) = re.findall(
        r"^k6-sweep inject -f job\.yaml ((?:.*\\\n)*.*?) \| kubectl", (ROOT / "README.md").read_text(), re.MULTILINE
    )
    options = shlex.split(line.replace("\\\n", ""))
    job = (ROOT / "examples/guide-before.yaml").read_text()
    (made,) = manifests(inject(["-f", "-", *options], {}, io.StringIO(job)).text)
    (sidecar,) = made["spec"]["template"]["spec"]["initContainers"]
    assert sidecar["image"] == "registry.example/k6-sweep:1.0.0"
    assert env_of(sidecar)["SWEEP_PATTERN"] == "queue:*\ndedupe:*"


def test_the_jobs_have_the_names_of_the_report_page(tmp_path: Path) -> None:
    """docs/report.md names the Jobs of the README's test, with a sidecar and with a watcher, of inject and of Helm."""
    (names,) = re.findall(r"the README's Jobs are (.*?):\n", (ROOT / "docs/report.md").read_text(), re.DOTALL)
    (block,) = re.findall(r"```yaml\n# values\.yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    values = YAML(typ="safe").load(block)
    several = written(tmp_path, {**values, "k6": {**values["k6"], "parallelism": 2}})
    command = ("template", "load-test", str(CHART), "-n", "load-test", "-f", str(REGISTRY), "-f", str(several))
    of_helm = manifests(run_helm("helm4", *command))
    job = re.sub("name: queue-load-test", "name: load-test", (ROOT / "examples/guide-before.yaml").read_text())
    watched = job.replace("spec:\n", "spec:\n  parallelism: 2\n", 1)
    options = ("--image", "x", "--redis-url", "redis://redis", "--pattern", "test:*", "--max-keys", "9")
    of_inject = manifests(inject(["-f", "-", *options], {}, io.StringIO(watched)).text)
    jobs = [sorted(each["metadata"]["name"] for each in made if each["kind"] == "Job") for made in (of_inject, of_helm)]
    assert re.findall(r"`([a-z0-9-]+)`", names) == [*jobs[0], *jobs[1]]
