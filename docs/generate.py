"""Writes the parts of docs/ that come from the code; with --check it only says whether they are as they should be."""

import sys
from pathlib import Path

from sidecar.cli import COMMANDS
from sidecar.options import default_text, flag_name, options_of, variable_name
from sidecar.settings import Settings

TARGET = Path(__file__).parent / "settings.md"

HEAD = """\
# Settings

<!-- Generated from sidecar/settings.py by `make docs`. -->

Every option is also an environment variable; the option beats the variable. An empty variable counts as not set. Lists
are repeated as options and separated by commas or newlines in variables. Times are seconds, or carry a unit: `500ms`,
`60s`, `5m`, `1h`. A yes or no is `true` or `false`; as an option it may stand alone.

All problems with the settings are reported at once, with exit code 2. A variable that begins with `SWEEP_` and is no
setting is a problem too; those that Kubernetes adds for a Service named `sweep` are not.
"""


def render() -> str:
    """Return docs/settings.md."""
    lines = [HEAD]
    heading = ""
    for name, spec in options_of(Settings).items():
        if spec.group != heading:
            heading = spec.group
            lines += [f"\n## {heading}\n", "| option | variable | default | commands | |", "|---|---|---|---|---|"]
        option = "(none)" if spec.secret else f"`{flag_name(name)}{'' if spec.flag else ' ' + spec.metavar}`"
        commands = (
            "all" if all(spec.serves(command) for command in COMMANDS) else ", ".join(sorted(spec.commands or ()))
        )
        lines.append(
            f"| {option} | `{variable_name(name)}` | {default_text(Settings, name)} | {commands} | {spec.help} |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write or check."""
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(render(), encoding="utf-8")
        return 0
    if TARGET.read_text(encoding="utf-8") == render():
        return 0
    sys.stderr.write(f"{TARGET} is not what the code says; run `make docs`\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
