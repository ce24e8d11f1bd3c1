"""What is loaded, and when."""

import subprocess
import sys

HEAVY = ("psutil", "redis", "urllib3")


def test_the_command_line_loads_nothing_heavy() -> None:
    """Until a command needs them, none of the packages is loaded that weigh or take time."""
    code = f"import k6_sweep.cli, sys; print([name for name in {HEAVY} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
