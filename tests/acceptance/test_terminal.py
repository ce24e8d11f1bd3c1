"""The output that a person sees in a terminal."""

import os
import pty
import re
import subprocess
import sys

import pytest

from k6_sweep.demo.keys import write_keys
from k6_sweep.demo.servers import LocalCluster
from tests.support import keys_of


def on_a_terminal(*arguments: str, env: dict[str, str]) -> str:
    """Run the command with a terminal as its standard error; return all output there."""
    master, slave = pty.openpty()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SWEEP_")}
    command = [sys.executable, "-m", "k6_sweep", *arguments]
    process = subprocess.Popen(command, stderr=slave, stdout=subprocess.DEVNULL, env={**clean, "TERM": "xterm", **env})
    os.close(slave)
    drawn = b""
    while True:
        try:
            data = os.read(master, 65536)
        except OSError:  # Linux's error if the other side has closed
            break
        if not data:
            break
        drawn += data
    os.close(master)
    assert process.wait(30) == 0
    return drawn.decode()


@pytest.fixture
def filled(cluster: LocalCluster) -> LocalCluster:
    write_keys(cluster, [b"test:%d" % number for number in range(3000)])
    return cluster


@pytest.mark.parametrize("no_colour", ["", "1"])
def test_bars_by_shard(filled: LocalCluster, no_colour: str) -> None:
    """A terminal shows a bar for the sweep and for each shard, and a log that is colored unless NO_COLOR is set."""
    words = ("run", "--redis-url", filled.url, "--pattern", "test:*", "--max-rate", "2000")
    drawn = on_a_terminal(*words, env={"NO_COLOR": no_colour, "COLUMNS": "120"})
    assert ("\x1b[32minfo" in drawn) is not bool(no_colour)
    plain = re.sub(r"\x1b\[[\d;?]*\w", "", drawn)
    for node in filled.primaries:
        assert re.search(rf"127\.0\.0\.1:{node.port} +[━╸╺ ]+ \d+/546\d +slots", plain)
    assert re.search(r"pass 1: \d+ keys found, \d+ deleted [━╸╺ ]+ \d+/16384 +slots", plain)
    assert re.search(r"info +done +status=complete deleted=3000", plain)
    assert keys_of(filled.primaries) == set()


def test_json_has_no_bars(filled: LocalCluster) -> None:
    """--log-format json writes JSON lines without bars, on a terminal too."""
    words = ("run", "--redis-url", filled.url, "--pattern", "test:*", "--log-format", "json")
    drawn = on_a_terminal(*words, env={})
    assert "\x1b" not in drawn
    assert all(line.startswith("{") for line in drawn.splitlines())
