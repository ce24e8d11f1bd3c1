"""The settings and files that the docs name exist."""

import re
from pathlib import Path

import pytest

from k6_sweep.inject.settings import InjectSettings
from k6_sweep.settings.options import flag_name, options_of, variable_name
from k6_sweep.settings.snapshot import SnapshotSettings

SETTINGS = options_of(SnapshotSettings) | options_of(InjectSettings)
ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.yaml"), *ROOT.glob("charts/*/*.md")]
ELSEWHERE = {
    "--jobs",
    *("--runtime-config", "--feature-gates"),  # of kube-apiserver
    *("--certificate-oidc-issuer", "--certificate-identity"),  # of cosign
    "--scan",
    "--pattern",
    "--pipe",
    "--pid",
    "--help",
    "--version",
    "--fix",
    "--check",
    "--no-logo",
    "--cluster",
    "--tls",
    "--set",
    "--show-only",
    "--from-file",
    "--from-literal",
    "--insecure",
    "--for",
    "--field-selector",
    "--exit-on-running",
    "--verb",
    "--resource",
    "--role",
    "--serviceaccount",
}
MISTAKES = {"SWEEP_DRYRUN", "SWEEP_REDIS_PORT", "--dryrun", "--keeps"}
"""Names in the examples of mistakes in docs/safety.md."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_settings_exist(page: Path) -> None:
    """Every option and variable that a page names exists."""
    text = page.read_text()
    variables = set(re.findall(r"\bSWEEP_[A-Z0-9_]+", text)) - {"SWEEP_"} - MISTAKES
    assert variables <= {variable_name(name) for name in SETTINGS}
    flags = set(re.findall(r"(?<![\w-])--[a-z0-9][a-z0-9-]+", text)) - ELSEWHERE - MISTAKES
    assert flags <= {flag_name(name) for name in SETTINGS}


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.suffix == ".md"], ids=lambda page: str(page.relative_to(ROOT))
)
def test_links_lead_somewhere(page: Path) -> None:
    """Every link to a file of the project leads to an existing file."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_readme_is_three_screens() -> None:
    """README.md has at most 150 lines of at most 100 columns, but for the rows of tables."""
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 150
    assert [line for line in lines if len(line) > 100 and not line.startswith("|")] == []
