"""Stands for a user at a shell: runs the command in its own process and waits for its end."""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from k6_sweep.sweep.read_snapshot import read_snapshot
from tests.reports import report_in


@dataclass(frozen=True)
class Ended:
    """The exit code, report and log of a command."""

    code: int
    report: dict[str, Any]
    log: str


def k6_sweep(*arguments: str, env: Mapping[str, str] = {}) -> Ended:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("SWEEP_")}
    done = subprocess.run(
        [sys.executable, "-m", "k6_sweep", *arguments],
        capture_output=True,
        text=True,
        env=clean | dict(env),
        timeout=300,
        check=False,
    )
    return Ended(done.returncode, report_in(done.stdout), done.stderr)


def make_older(snapshot: Path, age: timedelta) -> None:
    """Change the time of a snapshot, and its checksum with it."""
    found = read_snapshot(snapshot)
    dataclasses.replace(found, taken_at=found.taken_at - age).write(snapshot)
