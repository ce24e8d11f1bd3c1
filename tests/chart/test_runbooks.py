"""The sweep that docs/runbooks.md repeats: one Job, of the values of any release."""

import re
import shlex
from pathlib import Path

import pytest

from tests.blocks import ROOT, blocks
from tests.chart.helm import (
    BINARIES,
    CHART,
    REGISTRY,
    SCENARIOS,
    HelmRefusedError,
    Manifest,
    env_of,
    manifests,
    pod_specs,
    run_helm,
)

SWEEPING = [path for path in SCENARIOS if path.stem != "off-values"]


def made_again(binary: str, values: Path, more: str = "") -> list[Manifest]:
    """Return what the page's command makes of a release's values; `more` is put behind its --set."""
    text = blocks()["docs/runbooks.md: helm get values"].text.replace("\\\n", "").replace("$NAMESPACE", "load-test")
    (command,) = re.findall(r"\$\(helm (template .*?) \|", text)
    words = shlex.split(command + more)
    words[words.index("charts/k6-sweep")] = str(CHART)
    words[words.index("values.yaml")] = str(values)
    return manifests(run_helm(binary, *words, "--values", str(REGISTRY)))


@pytest.mark.parametrize("scenario", SWEEPING, ids=lambda path: path.stem)
@pytest.mark.parametrize("binary", BINARIES)
def test_a_sweep_is_repeated_by_one_job(binary: str, scenario: Path) -> None:
    """The page's command makes one Job, which sweeps as the release would, and which the release does not have."""
    live = manifests(run_helm(binary, "template", "nightly", str(CHART), "-n", "load-test", "--values", str(scenario)))
    more = ""
    if "preserveExisting: true" in scenario.read_text():
        with pytest.raises(HelmRefusedError, match="cleanupJob has no snapshot"):
            made_again(binary, scenario)
        (more,) = re.findall(r"`(,cleanup\.preserveExisting=\S+)COUNT`", (ROOT / "docs/runbooks.md").read_text())
        more += "50"
    (job,) = made_again(binary, scenario, more)
    assert job["kind"] == "Job"
    if scenario.stem != "cleanup-job-values":  # its own Job has this name; the page explains what to do
        assert ("Job", job["metadata"]["name"]) not in {(each["kind"], each["metadata"]["name"]) for each in live}
    (checked,) = [pod for name, pod in pod_specs(live) if name.endswith("-check")]
    ((_, pod),) = pod_specs([job])
    (container,) = pod["containers"]
    assert container["args"] == ["run"]
    assert pod.get("serviceAccountName") == checked.get("serviceAccountName")
    settings, tested = env_of(container), env_of(checked["containers"][0])
    assert {name: settings[name] for name in ("SWEEP_REDIS_URL", "SWEEP_PATTERN")} == {
        name: tested[name] for name in ("SWEEP_REDIS_URL", "SWEEP_PATTERN")
    }
    assert more or all(settings.get(name) == tested[name] for name in tested if "_REDIS_" in name or "MAX" in name)
