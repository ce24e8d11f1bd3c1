"""What a release installs and runs is pinned, and the pins agree with what they are made from."""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
EXTRAS = {"image": (), "image-api": ("api",), "image-api,aws": ("api", "aws")}


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def required(extra: str = "") -> list[Requirement]:
    """Return what the package needs, or what an extra adds; an extra may contain others."""
    about = project()["project"]
    found = []
    for each in map(Requirement, about["optional-dependencies"][extra] if extra else about["dependencies"]):
        found += [part for name in each.extras for part in required(name)] if each.name == "k6-sweep" else [each]
    return found


def locked(name: str) -> dict[str, str]:
    """Return the versions in a lock; each has a hash."""
    text = (ROOT / f"locks/{name}.txt").read_text()
    entries = re.findall(
        r"^([a-z0-9._-]+)(?:\[[a-z,]+\])?==(\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}.*\n)+)", text, re.MULTILINE
    )
    assert len(entries) == len(re.findall(r"^[a-z0-9]", text, re.MULTILINE)), "an entry has no hash"
    return {package: version for package, version, _ in entries}


@pytest.mark.parametrize("name", EXTRAS)
def test_the_locks_agree_with_pyproject(name: str) -> None:
    """Each lock has a version that pyproject.toml allows, of each package that it names; else run `make lock`."""
    versions = locked(name)
    for need in [*required(), *(each for extra in EXTRAS[name] for each in required(extra))]:
        assert need.specifier.contains(versions[need.name.lower()]), f"run `make lock`: {need}"


def test_the_build_is_locked() -> None:
    """The build system of pyproject.toml is the one in its lock."""
    (need,) = map(Requirement, project()["build-system"]["requires"])
    assert need.specifier.contains(locked("build")[need.name])


def test_the_base_is_pinned_and_of_the_locks_python() -> None:
    """The base image has a digest, and its Python is the one that the locks are for."""
    base = re.search(
        r"^ARG BASE=python:(3\.\d+)-slim@sha256:[0-9a-f]{64}$", (ROOT / "Dockerfile").read_text(), re.MULTILINE
    )
    assert base
    assert f"--python-version {base[1]} " in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned(path: Path) -> None:
    """Each action has the full hash of a commit, and the version that it belongs to."""
    used = re.findall(r"uses: (.*)", path.read_text())
    for each in used:
        assert each.startswith("./") or re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each), each
    assert used


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_may_only_read(path: Path) -> None:
    """By default a workflow may read the repository; only the jobs that publish, or renew the locks, may write."""
    flow = yaml.safe_load(path.read_text())
    assert flow["permissions"] == {"contents": "read"}
    more = {name for name, job in flow["jobs"].items() if "write" in job.get("permissions", {}).values()}
    writing = {"release": {"pypi", "image", "chart", "notes"}, "weekly": {"locks"}}
    assert more == writing.get(path.stem, set())


@pytest.mark.parametrize(
    ("job", "step"), {"pypi": "gh-action-pypi-publish", "image": "build-push-action", "chart": "helm push"}.items()
)
def test_nothing_is_published_before_the_names_are_given(job: str, step: str) -> None:
    """A job that publishes runs docs.names first, or needs a job that runs it: it refuses texts of before a release."""
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]
    before = [str(each) for need in jobs[job]["needs"] for each in jobs[need].get("steps", [])]
    own = [str(each) for each in jobs[job]["steps"]]
    (at,) = [number for number, each in enumerate(own) if step in each]
    assert "-m docs.names --registry" in "".join([*before, *own[:at]])


def test_notes_come_from_the_changelog() -> None:
    """The release's notes are the version's part of CHANGELOG.md; a version without one stops the release."""
    run = [str(ROOT / ".github/notes")]
    text = (ROOT / "CHANGELOG.md").read_text()
    newest = re.search(r"^## \[(.+?)\]", text, re.MULTILINE)
    assert newest
    notes = subprocess.run([*run, newest[1]], capture_output=True, text=True, check=True).stdout
    assert notes.strip() in text
    assert "\n## [" not in notes
    assert subprocess.run([*run, "99.0.0"], capture_output=True, text=True, check=False).returncode == 1
