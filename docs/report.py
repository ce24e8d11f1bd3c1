"""The fields of the report: their schema in the package describes each of them once, also for docs/report.md."""

import json
import re
from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).with_name("report.md")
SCHEMA: Final = Path(__file__).parents[1] / "sidecar/k6_sweep/report.schema.json"
_TABLE: Final = re.compile(r"(?<=## Fields\n\n)\| field \| meaning \|\n(?:\|.*\n)+")
_PAGES: Final = re.compile(r"docs/([a-z0-9-]+\.md)(#[a-z0-9-]+)?")


def render_page() -> str:
    """Return docs/report.md, with the table of the fields in it."""
    fields = json.loads(SCHEMA.read_text(encoding="utf-8"))["properties"]
    rows = ["| field | meaning |", "|---|---|"]
    for name, about in fields.items():
        meaning = _PAGES.sub(lambda page: f"[{page[1]}]({page[1]}{page[2] or ''})", about["description"])
        rows.append(f"| `{name}` | {meaning} |")
    return _TABLE.sub(lambda _: "\n".join(rows) + "\n", PAGE.read_text(encoding="utf-8"))
