"""Copies the registry, the project page and the version to all files that name them.

They come from `k6_sweep/names.py` and pyproject.toml. `make docs` copies them. Before a release,
`python -m docs.names --registry REGISTRY --project URL` replaces them everywhere, also in `k6_sweep/names.py`. It
refuses while a text is left that is right only before the first release.
"""

import argparse
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from k6_sweep import names
from k6_sweep.names import is_published

ROOT: Final = Path(__file__).parents[1]
NAMES: Final = ROOT / "sidecar/k6_sweep/names.py"
_VALUES: Final = ROOT / "charts/k6-sweep/values.yaml"
_PLACES: Final = (
    *("*.md", "Dockerfile", "docs/**/*.md", "examples/**/*", "charts/**/*", "tools/**/*"),
    *("sidecar/k6_sweep/settings/help.py", "tests/**/*.py"),
)
_HOST: Final = r"[a-z0-9-]+(?:\.[a-z0-9-]+)+(?:/[a-z0-9._-]+)*"
_IMAGE: Final = re.compile(rf"(?<![a-z0-9/.]){_HOST}/k6-sweep:\d+\.\d+\.\d+")
_SET: Final = re.compile(rf"(--set image\.registry=|image: {{registry: ){_HOST}(?=}}    # where|\n| )")
_VERSION: Final = re.compile(r"^(version|appVersion): .*$", re.MULTILINE)
_UNRELEASED: Final = re.compile(
    r"\b(?:no|not|nothing)(?:\s+\S+){0,4}?\s+published\b|where you pushed|\b(?:from|in) a checkout"
    r"|docker (?:build|push) |\bbuild the new image",
    re.IGNORECASE,
)
_DEFAULT: Final = re.compile(r'^(  # -- Registry of k6-sweep\'s image.*\n  registry:) ".*"$', re.MULTILINE)


def files() -> Iterator[Path]:
    """Yield the files that may name the image, the project page or the version."""
    for place in _PLACES:
        for path in sorted(ROOT.glob(place)):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".tgz":
                yield path


def version() -> str:
    """Return the version in pyproject.toml; the installed package may be of an older one."""
    found: str = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    return found


def renamed(path: Path, text: str, registry: str, project: str) -> str:
    """Return a file's text with the names in it."""
    text = _IMAGE.sub(f"{registry}/k6-sweep:{version()}", text)
    text = _SET.sub(rf"\g<1>{registry}", text)
    text = text.replace(names.PROJECT, project).replace(_module(names.PROJECT), _module(project))
    if path.name == "Chart.yaml" and path.parent.name == "k6-sweep":
        text = _VERSION.sub(rf"\1: {version()}", text)
    if path == _VALUES:
        default = registry if is_published(registry) else ""
        text = _DEFAULT.sub(rf'\1 "{default}"', text)
    return text


def _module(project: str) -> str:
    """Return the start of a Go module's path."""
    return f"module {project.removeprefix('https://')}/"


def stale(registry: str = names.REGISTRY, project: str = names.PROJECT) -> dict[Path, str]:
    """Return the new texts of the files that have other names."""
    new = {}
    for path in files():
        text = path.read_text(encoding="utf-8")
        if (changed := renamed(path, text, registry, project)) != text:
            new[path] = changed
    return new


def unreleased() -> Iterator[str]:
    """Yield file, line and text of what users read and what is right only before the first release."""
    for path in (*files(), *sorted(ROOT.glob("sidecar/**/*.py"))):
        place = path.relative_to(ROOT)
        if place.parts[0] == "tests" or path == NAMES:  # its messages depend on what is published
            continue
        text = path.read_text(encoding="utf-8")
        lines = {text[: found.start()].count("\n"): " ".join(found[0].split()) for found in _UNRELEASED.finditer(text)}
        for line, words in lines.items():
            yield f"{place}:{line + 1}: {words}"


def main() -> None:
    """Change the names everywhere."""
    parser = argparse.ArgumentParser(prog="python -m docs.names")
    parser.add_argument("--registry", required=True, help="registry and folder of the image, without https://")
    parser.add_argument("--project", required=True, help="address of the repository's page")
    given = parser.parse_args()
    if is_published(given.registry) and (left := list(unreleased())):
        parser.exit(1, "\n".join(["correct these texts, which are right only before the first release:", *left, ""]))
    for path, text in stale(given.registry, given.project).items():
        path.write_text(text, encoding="utf-8")
    text = NAMES.read_text(encoding="utf-8")
    for old, new in {names.REGISTRY: given.registry, names.PROJECT: given.project}.items():
        text = text.replace(f'"{old}"', f'"{new}"')
    NAMES.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
