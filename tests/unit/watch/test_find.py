"""k6 processes and processes that only look like k6; other tests use real processes for the rest of the watch."""

import os

import pytest

from k6_sweep.watch.find import is_k6, own_lineage


@pytest.mark.parametrize(
    ("name", "cmdline", "expected"),
    [
        ("k6", "k6 run script.js", True),
        ("k6", "/usr/bin/k6 run script.js", True),
        ("k6", "k6 -v run script.js", True),
        ("k6", "k6 --config run.json run script.js", True),
        ("k6", "k6 cloud run script.js", True),
        ("k6", "k6 cloud script.js", True),
        ("main", "/opt/k6 run script.js", True),
        ("k6", "k6 version", False),
        ("k6", "k6 inspect run.js", False),
        ("k6", "k6 archive run", False),
        ("k6", "k6", False),
        ("k6", "", False),
        ("sh", "sh -c k6 run script.js", False),
        ("pgrep", "pgrep -f k6 run", False),
        ("k6-sweep", "k6-sweep run", False),
        ("k6-operator", "/k6-operator run", False),
    ],
)
def test_is_k6(name: str, cmdline: str, expected: bool) -> None:
    """A process is k6 if it has k6's name and the subcommand that runs a test."""
    assert is_k6(name, cmdline.split(), "k6") is expected


def test_another_name_for_k6() -> None:
    """A k6 binary with another name is found by that name."""
    assert is_k6("xk6", ["xk6", "run"], "xk6")
    assert not is_k6("k6", ["k6", "run"], "xk6")


def test_our_lineage() -> None:
    """k6-sweep's own process and all its ancestors are its lineage."""
    assert {os.getpid(), os.getppid()} <= own_lineage()
