"""Writes the generated parts of the docs, from code and values; --check only reports whether they are up to date."""

import sys
from pathlib import Path

from docs import chart
from k6_sweep.cli import COMMANDS
from k6_sweep.inject.settings import InjectSettings
from k6_sweep.settings.options import flag_name, options_of, variable_name
from k6_sweep.settings.snapshot import SnapshotSettings

TARGET = Path(__file__).parent / "settings.md"

HEAD = """\
# Settings

<!-- Generated from sidecar/k6_sweep/settings/ and sidecar/k6_sweep/inject/settings.py by `make docs`. -->

Every option is also an environment variable; the option beats the variable. An empty variable counts as not set. Lists
are repeated as options and separated by commas or newlines in variables. Times are seconds, or carry a unit: `500ms`,
`60s`, `5m`, `1h`. A yes or no is `true` or `false`; as an option it may stand alone.

All problems with the settings are reported at once, with exit code 2. A variable that begins with `SWEEP_` and is no
setting is a problem too; those that Kubernetes adds for a Service named `sweep` are not.
"""


def render_settings() -> str:
    """Return docs/settings.md."""
    lines = [HEAD]
    heading = ""
    for name, spec in (options_of(SnapshotSettings) | options_of(InjectSettings)).items():
        if spec.group != heading:
            heading = spec.group
            lines += [f"\n## {heading}\n", "| option | variable | default | commands | |", "|---|---|---|---|---|"]
        option = "(none)" if spec.secret else f"`{flag_name(name)}{'' if spec.flag else ' ' + spec.metavar}`"
        option = f"`-{spec.letter}`, {option}" if spec.letter else option
        commands = "all" if all(map(spec.serves, COMMANDS)) else ", ".join(sorted(spec.taken_by.value))
        lines.append(f"| {option} | `{variable_name(name)}` | {spec.default_text} | {commands} | {spec.help} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the files, or check them."""
    stale = []
    for path, render in {
        TARGET: render_settings,
        chart.SCHEMA: chart.render_schema,
        chart.README: chart.render_readme,
    }.items():
        text = render()
        if path.read_text(encoding="utf-8") == text:
            continue
        stale.append(path)
        if "--check" not in sys.argv[1:]:
            path.write_text(text, encoding="utf-8")
    if "--check" not in sys.argv[1:] or not stale:
        return 0
    sys.stderr.write(f"not what the code and the values say: {', '.join(map(str, stale))}; run `make docs`\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
