"""The packages that the command line imports, and when."""

import subprocess
import sys

HEAVY = ("psutil", "redis", "kubernetes", "urllib3")


def test_the_command_line_loads_nothing_heavy() -> None:
    """The command line imports no large or slow package before a command needs it."""
    code = f"import k6_sweep.cli, sys; print([name for name in {HEAVY} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
