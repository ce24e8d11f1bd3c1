"""The chart's values: values.yaml describes each of them once, for its schema and its README."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from k6_sweep.settings.options import options_of, variable_name
from k6_sweep.settings.snapshot import SnapshotSettings

CHART: Final = Path(__file__).parents[1] / "charts" / "k6-sweep"
SCHEMA: Final = CHART / "values.schema.json"
README: Final = CHART / "README.md"
VARIABLES: Final = CHART / "templates" / "_variables.tpl"
_TABLE: Final = re.compile(r"(?<=<!-- values -->\n).*(?=<!-- /values -->)", re.DOTALL)

_ONLY_IN_SCHEMA: Final = {"global", "enabled"}
"""The values that a parent chart may add."""

Values = dict[str, Any]


def descriptions(text: str) -> dict[str, str]:
    """Return, by its path, the description of each key: the comment above it that begins with `# --`."""
    found: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    said: list[str] = []
    for line in text.splitlines():
        if comment := re.match(r" *# (-- )?(.*)", line):
            said = [comment[2]] if comment[1] else [*said, comment[2]] if said else []
        elif key := re.match(r"( *)([A-Za-z0-9]+):", line):
            path = [(depth, name) for depth, name in path if depth < len(key[1])] + [(len(key[1]), key[2])]
            if said:
                found[".".join(name for _, name in path)] = " ".join(said)
            said = []
        else:
            said = []
    return found


def leaves(values: Values, described: dict[str, str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value that a user may set, with its path.

    Raises:
        ValueError: A value has no description.
    """
    for name, value in values.items():
        path = f"{prefix}{name}"
        if path in described:
            yield path, value
        elif isinstance(value, dict) and value:
            yield from leaves(value, described, f"{path}.")
        else:
            raise ValueError(f"charts/k6-sweep/values.yaml: {path} has no description; put `# -- …` above it")


def _read() -> tuple[dict[str, str], dict[str, Any]]:
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    described = descriptions(text)
    return described, dict(leaves(YAML(typ="safe").load(text), described))


def render_schema() -> str:
    """Return the schema with the descriptions in it.

    Raises:
        ValueError: The schema and the values have different names.
    """
    described, values = _read()
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    known = {path: place for path, place in _places(schema) if path not in _ONLY_IN_SCHEMA}
    if unlike := sorted(known.keys() ^ values.keys()):
        raise ValueError(f"not in both values.yaml and values.schema.json: {', '.join(unlike)}")
    for path, place in known.items():
        place.pop("description", None)
        place["description"] = described[path]
    _require(schema)
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _require(schema: Values, prefix: str = "") -> None:
    """Require each name whose value may not be null: Helm leaves out a value that is null."""
    names = {name: place for name, place in schema["properties"].items() if f"{prefix}{name}" not in _ONLY_IN_SCHEMA}
    schema["required"] = [name for name, place in names.items() if "null" not in place.get("type", ())]
    for name, place in names.items():
        if "properties" in place:
            _require(place, f"{prefix}{name}.")


def _places(schema: Values, prefix: str = "") -> Iterator[tuple[str, Values]]:
    for name, place in schema["properties"].items():
        if "properties" in place:
            yield from _places(place, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", place


def render_variables() -> str:
    """Return the template with the names of k6-sweep's environment variables: a YAML list."""
    return "\n".join(
        [
            "{{/* The variables that k6-sweep reads. Generated from sidecar/k6_sweep/settings/ by `make docs`. */}}",
            '{{- define "k6-sweep.variables" -}}',
            *(f"- {variable_name(name)}" for name in options_of(SnapshotSettings)),
            "{{- end -}}\n",
        ]
    )


def render_readme() -> str:
    """Return the chart's README, with the table of the values in it."""
    described, values = _read()
    rows = ["| value | default | |", "|---|---|---|"]
    for path, default in values.items():
        shown = json.dumps(default, ensure_ascii=False).replace("|", "\\|")
        rows.append(f"| `{path}` | `{shown}` | {described[path].replace('|', '&#124;')} |")
    return _TABLE.sub(lambda _: "\n".join(rows) + "\n", README.read_text(encoding="utf-8"))
