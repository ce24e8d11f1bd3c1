"""Decides which existing files k6-sweep may write over: empty ones, and those with a text of its own."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from k6_sweep.files.regular import UnusableFileError, open_regular
from k6_sweep.status import Status

_MOST_BYTES: Final = 1024 * 1024
"""No text of k6-sweep is longer."""

IsOurs = Callable[[bytes], bool]
"""Returns whether k6-sweep wrote this text."""


def is_report(content: bytes) -> bool:
    """Return whether this is one report of k6-sweep, as a termination message has it; blanks around it do not count."""
    if not content.strip():
        return True
    try:
        report = json.loads(content)
    except (ValueError, RecursionError):
        return False
    # type(), because True and False are integers, too.
    return isinstance(report, dict) and report.get("status") in list(Status) and type(report.get("deleted")) is int


def is_metrics(content: bytes) -> bool:
    """Return whether this has metrics of k6-sweep, and nothing else."""
    lines = content.split(b"\n")  # not splitlines(): a pattern in a label may have a carriage return
    return all(line.startswith((b"k6_sweep_", b"# HELP k6_sweep_", b"# TYPE k6_sweep_")) for line in lines if line)


def check_ours(path: Path, is_ours: IsOurs) -> None:
    """Check that k6-sweep may write over a file, or that there is no file.

    Raises:
        UnusableFileError: The file has a text that is not k6-sweep's, or is not a regular file.
        OSError: The file cannot be read.
    """
    try:
        descriptor = open_regular(path)
    except FileNotFoundError:
        return
    try:
        check_content(descriptor, path, is_ours)
    finally:
        os.close(descriptor)


def check_content(descriptor: int, path: Path, is_ours: IsOurs) -> None:
    """Check an open file as `check_ours` does.

    Raises:
        UnusableFileError: The file has a text that is not k6-sweep's.
    """
    content = os.pread(descriptor, _MOST_BYTES + 1, 0)
    if len(content) > _MOST_BYTES or not is_ours(content):
        raise UnusableFileError("it has a content that is not k6-sweep's; name another file, or delete this one", path)
