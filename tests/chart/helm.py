"""Stands for a user of the chart: a real Helm renders it, and tests get objects by kind and name."""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "k6-sweep"
SCENARIOS = sorted(CHART.glob("ci/*-values.yaml"))
BINARIES = {name: ROOT / ".tools" / name for name in ("helm3", "helm4")}
REGISTRY = Path(__file__).with_name("registry-values.yaml")
"""The one value that every use of the image needs."""
NEWEST = "1.37"
Manifest = dict[str, Any]


class HelmRefusedError(Exception):
    """Helm refused the values; the message is its output."""


def why_no_helm() -> str | None:
    """Return what this machine lacks to render the chart, or None if it lacks nothing."""
    return None if all(map(shutil.which, map(str, BINARIES.values()))) else "needs Helm 3 and 4: make tools"


def run_helm(binary: str, *arguments: str) -> str:
    """Run Helm and return its output.

    Raises:
        HelmRefusedError: Helm failed.
    """
    done = subprocess.run([BINARIES[binary], *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise HelmRefusedError(done.stdout + done.stderr)
    return done.stdout


def manifests(text: str) -> list[Manifest]:
    """Return the manifests in Helm's output or in any other YAML text."""
    return [each for each in YAML(typ="safe").load_all(text) if each is not None]


def written(folder: Path, values: Mapping[str, object]) -> Path:
    """Write values to a file, as JSON: each YAML parser reads it alike."""
    path = folder / f"values{len(list(folder.glob('values*')))}.yaml"
    path.write_text(json.dumps(dict(values)))
    return path


@dataclass(frozen=True)
class Rendered:
    """The manifests that the chart makes of some values."""

    manifests: list[Manifest]

    def of(self, kind: str, name: str | None = None) -> Manifest:
        """Return the only manifest of this kind and name."""
        (found,) = self.every(kind, name)
        return found

    def every(self, kind: str, name: str | None = None) -> list[Manifest]:
        """Return all manifests of this kind and name."""
        return [each for each in self.manifests if each["kind"] == kind and name in {None, each["metadata"]["name"]}]

    def kinds(self) -> list[str]:
        """Return the kinds, sorted."""
        return sorted(each["kind"] for each in self.manifests)

    @property
    def test_pod(self) -> Manifest:
        """The spec of the pod that runs k6."""
        (job,) = [each for each in self.every("Job") if component(each) == "test"]
        spec: Manifest = job["spec"]["template"]["spec"]
        return spec


def component(manifest: Manifest) -> str:
    """Return the part of the chart that a manifest belongs to."""
    return str(manifest["metadata"]["labels"]["app.kubernetes.io/component"])


def render(
    *values: Path, binary: str = "helm4", version: str = NEWEST, chart: Path = CHART, release: str = "test-release"
) -> Rendered:
    """Render the chart for a version of Kubernetes.

    Raises:
        HelmRefusedError: The chart refuses these values.
    """
    files = [word for path in (REGISTRY, *values) for word in ("--values", str(path))]
    named = (release, str(chart), "--namespace", "load-test", "--kube-version", version)
    return Rendered(manifests(run_helm(binary, "template", *named, *files)))


def notes(*values: Path) -> str:
    """Return the text that Helm prints after an installation; nothing is installed, and no cluster is asked."""
    files = [word for path in (REGISTRY, *values) for word in ("--values", str(path))]
    done = run_helm("helm4", "install", "test-release", str(CHART), "-n", "load-test", "--dry-run=client", *files)
    return done.partition("\nNOTES:\n")[2]


def env_of(container: Manifest) -> dict[str, object]:
    """Return a container's variables; the last of two with one name counts, as for the kubelet."""
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}


def pod_specs(found: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Yield the spec of each pod that the manifests create, with the manifest's name."""
    for manifest in found:
        spec = manifest.get("spec", {})
        if manifest["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if manifest["kind"] in {"Job", "CronJob", "Deployment"}:
            spec = spec["template"]["spec"]
        if manifest["kind"] in {"Job", "CronJob", "Deployment", "Pod"}:
            yield manifest["metadata"]["name"], spec
