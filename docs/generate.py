"""Writes the generated parts of the docs, from code and values; --check only reports whether they are up to date."""

import sys
from collections.abc import Iterable
from pathlib import Path

from docs import chart, dashboard, names, report
from k6_sweep.inject.settings import InjectSettings
from k6_sweep.settings.options import TakenBy, flag_name, options_of, variable_name
from k6_sweep.settings.snapshot import SnapshotSettings

TARGET = Path(__file__).parent / "settings.md"

HEAD = """\
# Settings

<!-- Generated from sidecar/k6_sweep/settings/ and sidecar/k6_sweep/inject/settings.py by `make docs`. -->

Every setting is an option and an environment variable; secrets are a variable only. If both are set, k6-sweep uses the
option; of `--keep`, it uses both. An option that takes one value may be repeated only with the same value.

| value | how to write it |
|---|---|
| several values (repeatable) | repeat the option; in the variable, separate the values by commas or newlines |
| a comma in a pattern | `\\,` |
| a time (SECONDS) | a number of seconds, or a number with a unit: `500ms`, `60s`, `5m`, `1h` |
| true or false | `true` or `false`; the option without a value means `true` |

k6-sweep reports all problems with the settings at once, with exit code 2. An unknown variable that begins with `SWEEP_`
is a problem too, also in lower case or with `K6_` before it. The variables that Kubernetes adds for a Service named
`sweep` are no problem; k6-sweep recognises them by their values.

The column *role* shows what a mistake can do. A setting that *selects* decides what is swept. One that
*protects* limits what is swept and when, and which clients may ask for it: a mistake in it could delete keys of others.
So k6-sweep reads it strictly: an empty value is a problem. An empty variable of another setting counts as not set.
[safety.md](safety.md#mistakes-in-settings) lists the mistakes that k6-sweep finds.

The column *commands* lists the commands that have the setting; "all" means `watch`, `run`, `serve`, `snapshot`, `check`
and `inject`. If a setting belongs to `inject` and to other commands, `inject` writes it into the containers that it
adds.
"""


_ALL = {TakenBy.ALL: "all", TakenBy.IN_PLACE: "all but inject"}


def render_settings() -> str:
    """Return docs/settings.md."""
    lines = [HEAD]
    heading = ""
    shared = options_of(SnapshotSettings).items()
    # Both `watch` and `inject` have a --namespace, of different meanings.
    for name, spec in [*shared, *(item for item in options_of(InjectSettings).items() if item not in shared)]:
        if spec.group != heading:
            heading = spec.group
            columns = ("setting", "role", "default", "commands", "what it does", "why this default")
            lines += [f"\n## {heading}\n", _row(columns), "|" + "---|" * len(columns)]
        option = f"`{flag_name(name)}{'' if spec.flag else ' ' + spec.metavar}`"
        option = f"`-{spec.letter}`, {option}" if spec.letter else option
        setting = f"`{variable_name(name)}`" if spec.secret else f"{option}<br>`{variable_name(name)}`"
        commands = _ALL.get(spec.taken_by) or ", ".join(spec.taken_by.value)
        lines.append(_row([setting, spec.role.value, spec.default_text, commands, spec.help, spec.why]))
    return "\n".join(lines) + "\n"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _with_names() -> dict[Path, str]:
    return names.stale()


def _from_code() -> dict[Path, str]:
    return {
        TARGET: render_settings(),
        report.PAGE: report.render_page(),
        dashboard.PAGE: dashboard.render_page(),
        chart.SCHEMA: chart.render_schema(),
        chart.README: chart.render_readme(),
        chart.VARIABLES: chart.render_variables(),
    }


def main() -> int:
    """Write the files, or check them."""
    stale = []
    for render in (_with_names, _from_code):
        for path, text in render().items():
            if path.exists() and path.read_text(encoding="utf-8") == text:
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
