"""Draws docs/dashboard.svg from the dashboard's JSON: a sketch of its panels, with made-up numbers.

Grafana itself draws more: it is under the AGPL, so the project does not depend on it.
"""

import json
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape

SOURCE: Final = Path(__file__).parents[1] / "charts/k6-sweep/dashboards/k6-sweep.json"
PAGE: Final = Path(__file__).with_name("dashboard.svg")
_UNIT: Final = 40
_ROW: Final = 26
_GAP: Final = 6
_HEAD: Final = 44
_STATS: Final = {
    "Status": ("complete", "#73bf69"),
    "Keys deleted": ("699,803", "#5794f2"),
    "Keys left": ("0", "#73bf69"),
    "Time since the last complete sweep": ("7 min", "#73bf69"),
    "k6's exit code": ("99", "#ff9830"),
    "Sweeps owed": ("0", "#73bf69"),
}
_COLOURS: Final = ("#5794f2", "#73bf69", "#ff9830")


def render_page() -> str:
    """Return the picture."""
    dashboard = json.loads(SOURCE.read_text(encoding="utf-8"))
    panels = dashboard["panels"]
    width = 24 * _UNIT + 2 * _GAP
    height = _HEAD + max(each["gridPos"]["y"] + each["gridPos"]["h"] for each in panels) * _ROW + _GAP
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
            f"<title>A sketch of the dashboard {escape(dashboard['title'])}, with made-up numbers</title>",
            f'<rect width="{width}" height="{height}" fill="#111217"/>',
            _text(_GAP + 8, 28, dashboard["title"], 18, "#d8d9da"),
            _text(width - _GAP - 8, 28, "a sketch, drawn from the JSON, with made-up numbers", 13, "#8e8e8e", "end"),
            *(line for panel in panels for line in _panel(panel)),
            "</svg>\n",
        ]
    )


def _panel(panel: dict[str, Any]) -> list[str]:
    at = panel["gridPos"]
    x, y = _GAP + at["x"] * _UNIT, _HEAD + at["y"] * _ROW
    w, h = at["w"] * _UNIT - _GAP, at["h"] * _ROW - _GAP
    if panel["type"] == "row":
        return [_text(x + 8, y + 15, f"⌄ {panel['title']}", 14, "#d8d9da")]
    frame = f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="3" fill="#181b1f" stroke="#2c3235"/>'
    draw = {"stat": _stat, "bargauge": _bars}.get(panel["type"], _lines)
    return [frame, _text(x + 8, y + 18, panel["title"], 12, "#c7d0d9"), *draw(panel["title"], x, y + 26, w, h - 32)]


def _stat(title: str, x: int, y: int, w: int, h: int) -> list[str]:
    number, colour = _STATS.get(title, ("…", "#73bf69"))
    return [_text(x + w // 2, y + h // 2 + 12, number, 34, colour, "middle")]


def _bars(title: str, x: int, y: int, w: int, h: int) -> list[str]:
    names = ("redis-0", "redis-1", "redis-2") if "shard" in title else ("stream:*", "dedupe:*", "queue:*")
    parts = []
    for number, name in enumerate(names):
        top, length = y + 8 + number * h // 3, (w - 100) * (10 - 2 * number) // 10
        colour = _COLOURS[number]
        parts.append(_text(x + 8, top + 22, name, 12, "#c7d0d9"))
        parts.append(f'<rect x="{x + 84}" y="{top + 6}" width="{length}" height="22" fill="{colour}" opacity="0.8"/>')
    return parts


def _lines(title: str, x: int, y: int, w: int, h: int) -> list[str]:
    shift = sum(map(ord, title)) % 5
    parts = []
    for number, colour in enumerate(_COLOURS[:2]):
        heights = [(7 * step + 3 * number + shift) % 11 for step in range(9)]
        points = (
            f"{x + 12 + step * (w - 24) // 8},{y + h - 8 - high * (h - 24) // 11}" for step, high in enumerate(heights)
        )
        parts.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="2"/>')
    return parts


def _text(x: int, y: int, text: str, size: int, colour: str, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}" text-anchor="{anchor}">{escape(text)}</text>'
