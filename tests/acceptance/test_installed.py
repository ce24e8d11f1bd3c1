"""The command as pip installs it from a wheel."""

import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import Distribution, version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def pip_install(environment: Path, package: str) -> subprocess.CompletedProcess[str]:
    """Install a package without its dependencies, which are there already."""
    python = environment / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", package]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_beside_the_package_called_sidecar(tmp_path: Path) -> None:
    """PyPI's package `sidecar` and k6-sweep work in the same environment."""
    environment = tmp_path / "environment"
    venv.create(environment, symlinks=True)
    installed = Path(sysconfig.get_path("purelib", vars={"base": str(environment)}))
    # k6-sweep's dependencies without k6-sweep itself: Python reads no .pth in a folder that another .pth adds.
    (installed / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    theirs = pip_install(environment, "sidecar")
    if theirs.returncode:
        pytest.skip(f"needs the package index: {theirs.stderr.strip().splitlines()[-1]}")
    ours = pip_install(environment, str(ROOT))
    assert ours.returncode == 0, ours.stderr

    command = [str(environment / "bin" / "k6-sweep"), "--version"]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (shown.returncode, shown.stdout) == (0, f"k6-sweep {version('k6-sweep')}\n"), shown.stderr
    found = {each.metadata["Name"]: each for each in Distribution.discover(path=[str(installed)])}
    assert "sidecar/__init__.py" in files_of(found["sidecar"])
    assert "k6_sweep/__init__.py" in files_of(found["k6-sweep"])
    assert not files_of(found["sidecar"]) & files_of(found["k6-sweep"])


def files_of(distribution: Distribution) -> set[str]:
    return {str(path) for path in distribution.files or ()}
