"""The output that a person sees in a terminal."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from k6_sweep.demo.keys import write_keys
from k6_sweep.demo.servers import LocalCluster
from tests.acceptance.pod import private_k6
from tests.reports import report_in
from tests.support import keys_of


@dataclass(frozen=True)
class Shown:
    """What a command showed on a terminal, what it wrote to a pipe, and its exit code."""

    drawn: str
    piped: str
    code: int

    @property
    def plain(self) -> str:
        """The text without escape codes; bars that were drawn over are still in it."""
        return re.sub(r"\x1b\[[\d;?]*\w", "", self.drawn).replace("\r\n", "\n")


def on_a_terminal(
    *arguments: str,
    env: Mapping[str, str] = {},
    columns: int = 120,
    pipe: bool = False,
    on_text: Callable[[bytes], None] = lambda _: None,
) -> Shown:
    """Run the command with a terminal as its standard error, and as its standard output unless that is a pipe.

    `on_text` gets all that the terminal shows, each time when there is more.
    """
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SWEEP_") and name != "COLUMNS"}
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "k6_sweep", *arguments],
            stderr=slave,
            stdout=output if pipe else slave,
            env={**clean, "TERM": "xterm", "NO_COLOR": "", **env},
        )
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
            on_text(drawn)
        os.close(master)
        code = process.wait(30)
        output.seek(0)
        return Shown(drawn.decode(), output.read().decode(), code)


@pytest.fixture
def filled(cluster: LocalCluster) -> LocalCluster:
    write_keys(cluster, [b"test:%d" % number for number in range(3000)])
    return cluster


@pytest.mark.parametrize("no_colour", ["", "1"])
@pytest.mark.parametrize("columns", [120, 60])
def test_bars_by_shard(filled: LocalCluster, no_colour: str, columns: int) -> None:
    """A terminal shows the counts, a bar for each shard and a table, also at 60 columns; NO_COLOR removes colours."""
    words = ("run", "--redis-url", filled.url, "--pattern", "test:*", "--max-rate", "2000")
    shown = on_a_terminal(*words, env={"NO_COLOR": no_colour}, columns=columns)
    assert shown.code == 0
    assert ("\x1b[32minfo" in shown.drawn) is not bool(no_colour)
    assert ("\x1b[32mcomplete" in shown.drawn) is not bool(no_colour)
    for node in filled.primaries:
        assert re.search(rf"127\.0\.0\.1:{node.port} +[━╸╺ ]+ \d+/546\d +slots", shown.plain)
    assert re.search(r"pass 1: [\d,]+ keys found, [\d,]+ deleted\n", shown.plain)
    assert re.search(r"all shards +[━╸╺ ]+ \d+/16384 +slots", shown.plain)
    assert "test:*     3,000    3,000       0     0\n\ncomplete  16,384/16,384 slots" in shown.plain
    assert keys_of(filled.primaries) == set()


def test_the_end_comes_once(filled: LocalCluster) -> None:
    """A terminal gets the end as text only: no line `done` in the log, and no JSON."""
    shown = on_a_terminal("run", "--redis-url", filled.url, "--pattern", "test:*")
    assert shown.plain.count("complete  16,384/16,384 slots") == 1
    assert "done" not in shown.plain
    assert "{" not in shown.plain


def test_a_pipe_gets_the_report_as_json(filled: LocalCluster) -> None:
    """A pipe gets the JSON report, and the terminal the log with the line `done`; --output changes either."""
    words = ("run", "--redis-url", filled.url, "--pattern", "test:*", "--dry-run")
    shown = on_a_terminal(*words, pipe=True)
    assert report_in(shown.piped)["matched"] == 3000
    assert re.search(r"info +done +status=dry-run", shown.plain)
    assert on_a_terminal(*words, "--output", "text", pipe=True).piped.startswith("pattern  matched")
    assert re.search(r'^\{"status":"dry-run"', on_a_terminal(*words, "--output", "json").plain, re.MULTILINE)


def test_watch_ends_with_a_table(tmp_path: Path, redis_url: str) -> None:
    """After k6's end, `watch` shows the table, and k6's exit code or that it is unknown."""
    script = tmp_path / "sleep.js"
    script.write_text("import { sleep } from 'k6'\nexport default () => sleep(600)")
    k6 = private_k6(tmp_path)
    running: list[subprocess.Popen[bytes]] = []

    def run_k6(drawn: bytes) -> None:
        if b"waiting for k6" in drawn and not running:
            command = [str(k6), "run", "--quiet", "--address", "localhost:0", str(script)]
            running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        elif b"k6 is running" in drawn:
            running[0].kill()
            running[0].wait()  # the kernel reports the code of a process that its parent has waited for

    words = ("watch", "--redis-url", redis_url, "--pattern", "test:*", "--k6-process", k6.name, "--settle", "0")
    shown = on_a_terminal(*words, env={"KUBERNETES_SERVICE_HOST": ""}, on_text=run_k6)
    assert [k6.returncode for k6 in running] == [-signal.SIGKILL]
    assert shown.code == 0
    ended = r"k6 ended(, exit code unknown| with exit code \d+ \(.+\))"
    assert re.search(rf"test:\* +1 +1 +0 +0\n\ncomplete  [\d.]+ s  (not )?exact\n{ended}\n$", shown.plain)


@pytest.mark.parametrize("pipe", [False, True])
def test_bad_settings_come_once(pipe: bool) -> None:
    """A terminal shows each problem with the settings once; a pipe gets the JSON report as well."""
    shown = on_a_terminal("run", "--redis-ulr", "redis://h", "--pattern", "test:*", pipe=pipe)
    assert shown.code == 2
    assert shown.plain.startswith("k6-sweep run: the settings are not valid; nothing was deleted\n")
    assert shown.plain.endswith("\n`k6-sweep run --help` explains the settings\n")
    assert shown.plain.count("unknown option --redis-ulr; did you mean --redis-url?") == 1
    assert [line for line in shown.plain.splitlines() if "{" in line] == []
    assert not pipe or report_in(shown.piped)["status"] == "error"


def test_a_refusal_comes_once(filled: LocalCluster) -> None:
    """A terminal shows the reason of a refusal once, with what it means."""
    shown = on_a_terminal("run", "--redis-url", filled.url, "--pattern", "t*")
    assert shown.code == 4
    assert shown.plain.count("starts with fewer than 3 literal characters") == 1
    assert shown.plain.endswith("Nothing was deleted, because a guard refused the sweep.\n")


def test_a_dumb_terminal_gets_plain_lines(filled: LocalCluster) -> None:
    """With TERM=dumb, progress is a line every few seconds, without escape codes, and the table follows."""
    words = ("run", "--redis-url", filled.url, "--pattern", "test:*", "--max-rate", "500")
    shown = on_a_terminal(*words, env={"TERM": "dumb"})
    assert "\x1b" not in shown.drawn
    assert re.search(r"sweep in progress  percent=[\d.]+ .* deleted=\d+ matched=\d+\n", shown.drawn.replace("\r", ""))
    assert "complete  16,384/16,384 slots" in shown.plain


def test_json_has_no_bars(filled: LocalCluster) -> None:
    """--log-format json writes JSON lines without bars, on a terminal too."""
    words = ("run", "--redis-url", filled.url, "--pattern", "test:*", "--log-format", "json")
    shown = on_a_terminal(*words, pipe=True)
    assert shown.code == 0
    assert "\x1b" not in shown.drawn
    assert all(line.startswith("{") for line in shown.drawn.splitlines())
