"""While nothing is published, no text leads a reader to a name that a stranger could register."""

import io
import re
from pathlib import Path

import pytest

import docs.names
from docs.names import ROOT, files, main, renamed, stale, unreleased, version
from k6_sweep import names
from k6_sweep.errors import SettingsError
from k6_sweep.inject.command import inject

JOB = "{kind: Job, metadata: {name: a}, spec: {template: {spec: {restartPolicy: Never, containers: [{name: k6}]}}}}"
READ = [*(each for each in files() if not each.is_relative_to(ROOT / "tests")), *(ROOT / "sidecar").rglob("*.py")]
"""What users read."""


def test_the_names_are_the_same_everywhere() -> None:
    """All files have the registry, the project page and the version that names.py and pyproject.toml have."""
    assert not stale()


@pytest.mark.parametrize("path", sorted({*READ}), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_name_of_a_stranger(path: Path) -> None:
    """No file installs k6-sweep by name from an index, or pulls its image from a registry that can be real."""
    text = path.read_text(encoding="utf-8")
    if path.name != "names.py":
        assert not re.search(r"pip install '?k6-sweep", text)
    images = re.findall(r"([a-z0-9./-]*)\bk6-sweep:\d+\.\d+", text)
    assert {each for each in images if not each.endswith(".example/")} - {"images.example.com/tools/"} == set()
    assert "github.com/k6-sweep" not in text


def test_a_release_renames_everything() -> None:
    """The release's names replace the placeholders in every file, and give the chart its registry."""
    new = stale("registry.corp/team/repo", "https://git.corp/team/repo")
    changed = {str(path.relative_to(ROOT)) for path in new}
    assert {"README.md", "Dockerfile", "docs/four-ways.md", "charts/k6-sweep/Chart.yaml", "tools/go.mod"} <= changed
    assert {"examples/gitops/argocd-application.yaml", "examples/parent-chart/values.yaml"} <= changed
    assert "sidecar/k6_sweep/settings/help.py" in changed
    for path, text in new.items():
        assert names.PROJECT not in text, path
        if path.suffix != ".py":
            assert f"{names.REGISTRY}/k6-sweep" not in text, path
    assert '  registry: "registry.corp/team/repo"' in new[ROOT / "charts/k6-sweep/values.yaml"]
    readme = new[ROOT / "README.md"]
    assert "--set image.registry=registry.corp/team/repo" in readme
    assert renamed(ROOT / "README.md", readme, names.REGISTRY, names.PROJECT) == (ROOT / "README.md").read_text()


BEFORE = (
    "- **Where is the image?** Not published yet: build it",
    "No image is published yet, so none has a name",
    "required, because no image is published: build one",
    "no image of k6-sweep is published: build one in a checkout",
    "required while no\n  image is published",
    "Nothing is published yet.",
    "image: {registry: registry.example}    # where you pushed the image",
    "install the command from a checkout, build the image",
    "(`pip install '.[aws]'` in a checkout)",
    "docker build -t registry.example/k6-sweep:1.0.0 .",
    "docker push registry.example/k6-sweep:1.0.0",
    "Read the changes, build the new image",
)
"""Texts that are right only before the first release."""
ALSO_AFTER = re.compile(
    r"publish(es|er|ing)|could publish|published rules|AWS's published|is_published\(|Publish the report|the checkout",
    re.IGNORECASE,
)


def in_a_checkout(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let docs/names.py see a checkout whose README has this text."""
    (folder / "README.md").write_text(text)
    (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    (folder / "names.py").write_text(f'REGISTRY = "{names.REGISTRY}"\n')
    monkeypatch.setattr(docs.names, "ROOT", folder)
    monkeypatch.setattr(docs.names, "NAMES", folder / "names.py")
    monkeypatch.setattr("sys.argv", ["names", "--registry", "registry.corp/team", "--project", "https://git.corp/team"])


@pytest.mark.parametrize("text", BEFORE)
def test_a_release_stops_at_a_text_of_before(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The release's names are refused, with file and line, while a text is right only before; nothing is changed."""
    in_a_checkout(tmp_path, f"# k6-sweep\n\n{text}\n", monkeypatch)
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    assert "\nREADME.md:3: " in capsys.readouterr().err
    assert names.REGISTRY in (tmp_path / "names.py").read_text()


def test_a_release_goes_on_without_such_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without such a text, the names are changed."""
    in_a_checkout(tmp_path, f"The image is {names.REGISTRY}/k6-sweep:1.0.0.\n", monkeypatch)
    main()
    assert (tmp_path / "README.md").read_text() == f"The image is registry.corp/team/k6-sweep:{version()}.\n"
    assert "registry.corp/team" in (tmp_path / "names.py").read_text()


def test_no_text_of_before_is_missed() -> None:
    """Each line that users read about a checkout or what is published stops a release, or is right after it, too."""
    found = {":".join(each.split(":")[:2]) for each in unreleased()}
    missed = [
        f"{path.relative_to(ROOT)}:{number}: {line}"
        for path in READ
        if path.name != "names.py"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(
            r"publish|checkout|docker (build|push) |pushed the image|(your|own) registry|registry of yours",
            line,
            re.IGNORECASE,
        )
        and f"{path.relative_to(ROOT)}:{number}" not in found
        and not ALSO_AFTER.search(line)
    ]
    assert missed == []


def test_inject_asks_for_an_image() -> None:
    """Without an image, inject refuses, and shows how to build one of this version."""
    with pytest.raises(SettingsError) as refused:
        inject(["-f", "-", "--redis-url", "redis://r", "--pattern", "a:b*", "--no-guard"], {}, io.StringIO(JOB))
    (problem,) = refused.value.problems
    assert problem.startswith(
        "--image is required: no image is published, so build one: docker build -t registry.example/"
    )


def test_extras() -> None:
    """A message names the index only when the package is there."""
    assert names.how_to_install("aws") == "pip install '.[aws]' in a checkout of k6-sweep"
    assert names.how_to_install("aws", "registry.corp/team") == "pip install 'k6-sweep[aws]'"


def test_the_version_is_in_the_changelog() -> None:
    """CHANGELOG.md has the version of pyproject.toml, or what will be in it."""
    assert re.search(rf"^## \[({re.escape(version())}|Unreleased)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
