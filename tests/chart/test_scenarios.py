"""Every scenario in ci/ is valid for Helm and for the schemas of all Kubernetes versions."""

import re
import tomllib
from pathlib import Path

import kubernetes_validate
import pytest
from ruamel.yaml import YAML

from docs.chart import descriptions
from k6_sweep.settings.all import Settings
from k6_sweep.settings.options import options_of, variable_name
from tests.chart.helm import (
    BINARIES,
    CHART,
    ROOT,
    SCENARIOS,
    HelmRefusedError,
    env_of,
    manifests,
    pod_specs,
    render,
    run_helm,
)

SINCE = {"policy-values": 34}
"""The minor version of Kubernetes that a scenario needs."""
VERSIONS = [f"1.{minor}" for minor in range(27, 38)]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.stem)
@pytest.mark.parametrize("binary", BINARIES)
def test_lint_finds_nothing(binary: str, scenario: Path) -> None:
    """`helm lint --strict` finds no problem."""
    said = run_helm(binary, "lint", "--strict", str(CHART), "--values", str(scenario), "--kube-version", "1.34")
    assert "0 chart(s) failed" in said
    assert "[WARNING]" not in said


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.stem)
def test_both_helms_render_the_same(scenario: Path) -> None:
    """Helm 3 and Helm 4 make the same manifests."""
    assert render(scenario, binary="helm3").manifests == render(scenario, binary="helm4").manifests


@pytest.mark.parametrize("binary", BINARIES)
def test_without_a_cluster(binary: str) -> None:
    """Without a cluster and without --kube-version, Helm assumes a Kubernetes that the chart supports."""
    guide = next(path for path in SCENARIOS if path.stem == "guide-values")
    assert manifests(run_helm(binary, "template", "any", str(CHART), "-n", "load-test", "--values", str(guide)))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.stem)
def test_the_schemas_accept_it(scenario: Path, version: str) -> None:
    """Each manifest is strictly valid for each Kubernetes version; tests/kubernetes checks operators' kinds."""
    if int(version.partition(".")[2]) < SINCE.get(scenario.stem, 0):
        with pytest.raises(HelmRefusedError, match=r"needs Kubernetes 1\.34 or newer"):
            render(scenario, version=version)
        return
    for manifest in render(scenario, version=version).manifests:
        if manifest["kind"] not in {"TestRun", "ServiceMonitor", "PrometheusRule", "HTTPRoute"}:
            assert kubernetes_validate.validate(manifest, version, strict=True) == version


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.stem)
def test_each_container_has_only_the_rights_that_it_needs(scenario: Path) -> None:
    """k6-sweep's containers have their own user, no capabilities and a read-only root."""
    for _, pod in pod_specs(render(scenario).manifests):
        for container in (*pod.get("initContainers", []), *pod["containers"]):
            if not container["name"].startswith("k6-sweep"):
                continue
            security = container["securityContext"]
            assert (security["runAsUser"], security["runAsNonRoot"]) == (64001, True)
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert security["readOnlyRootFilesystem"]
            assert not security["allowPrivilegeEscalation"]
            assert container["resources"]["limits"]["memory"]
            assert "SWEEP_REDIS_PASSWORD" not in env_of(container)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.stem)
def test_each_container_gets_what_its_command_takes(scenario: Path) -> None:
    """No container has a setting that its command ignores."""
    options = {variable_name(name): spec for name, spec in options_of(Settings).items()}
    for _, pod in pod_specs(render(scenario).manifests):
        for container in (*pod.get("initContainers", []), *pod["containers"]):
            if container["name"].startswith("k6-sweep"):
                names = [name for name in env_of(container) if name.startswith("SWEEP_")]
                assert [name for name in names if not options[name].serves(container["args"][0])] == []


def test_the_toggle_is_all_there_is_to_it() -> None:
    """With the cleanup off, the manifests contain nothing of k6-sweep."""
    off = render(next(path for path in SCENARIOS if path.stem == "off-values"))
    assert off.kinds() == ["ConfigMap", "Job"]
    assert [each["name"] for each in off.test_pod["containers"]] == ["k6"]
    assert "SWEEP_" not in str(off.manifests)


def test_the_preset_has_the_documented_patterns() -> None:
    """The preset's patterns are those that the value's description lists."""
    listed = re.findall(r"`([a-z_]+:\*)`", descriptions((CHART / "values.yaml").read_text())["cleanup.preset"])
    guide = next(path for path in SCENARIOS if path.stem == "guide-values")
    (sidecar,) = render(guide).test_pod["initContainers"]
    assert env_of(sidecar)["SWEEP_PATTERN"] == "\n".join(listed)


def test_every_value_is_tried() -> None:
    """Some scenario sets each value, except those that other tests cover."""
    tried = [YAML(typ="safe").load(path) for path in SCENARIOS]

    def is_set(path: str) -> bool:
        places = tried
        for step in path.split("."):
            places = [place[step] for place in places if isinstance(place, dict) and step in place]
        return bool(places)

    untried = {path for path in descriptions((CHART / "values.yaml").read_text()) if not is_set(path)}
    assert untried == {  # other tests cover these
        *("serviceAccount.name", "k6.command", "k6.podSecurityContext", "k6.securityContext"),
        *("cleanup.messageLimit", "cleanup.resources", "api.resources"),
        *(
            "cleanup.allowBroadPatterns",
            "cleanup.securityContext",
            "watcher.backoffLimit",
            "watcher.scheduling",
            "watcher.ttlSecondsAfterFinished",
        ),
        *("cleanupJob.backoffLimit", "cleanupJob.ttlSecondsAfterFinished"),
    }


def test_the_chart_is_of_this_version() -> None:
    """The chart's version and the image's tag are the version of k6-sweep."""
    (chart,) = manifests((CHART / "Chart.yaml").read_text())
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert (chart["appVersion"], chart["version"]) == (version, version)
    assert f"k6-sweep:{version}" in chart["annotations"]["artifacthub.io/images"]
