"""Writes docs/demo.svg: the screen of a real `k6-sweep demo` on this machine.

Its numbers differ each time, so no check compares it. Run `python -m docs.demo` when the screen changes.
"""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

PICTURE: Final = Path(__file__).with_name("demo.svg")
_COLUMNS: Final = 110


def main() -> int:
    """Run the demo at a terminal of its own, and draw what it shows."""
    outside, inside = pty.openpty()
    env = os.environ | {"COLUMNS": str(_COLUMNS), "TERM": "xterm-256color"}
    running = subprocess.Popen(
        [sys.executable, "-m", "k6_sweep", "demo"], stdout=inside, stderr=inside, env=env
    )  # our own command
    os.close(inside)
    shown = b""
    try:
        while part := os.read(outside, 65536):
            shown += part
    except OSError:  # how Linux reports the end of a terminal
        pass
    if code := running.wait():
        return code
    console = Console(record=True, width=_COLUMNS, file=Path(os.devnull).open("w"), color_system="truecolor")  # noqa: SIM115  # it stays open as long as the console
    console.print(Text.from_ansi(shown.decode().replace("\r\n", "\n").strip("\n")))
    svg = console.export_svg(title="make demo")
    # No font from the internet: a page that shows the picture would load it.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL).replace(
        "Fira Code", "ui-monospace, Menlo, Consolas"
    )
    PICTURE.write_text(svg, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
