"""The completion of commands, options and values, typed into real shells."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from k6_sweep.cli import SHELLS

START = {
    "bash": "bash --norc --noprofile -i",
    "zsh": "zsh -f -i",
    "fish": "fish --no-config -i",
}
PREPARE = {
    "bash": "true",
    "zsh": "autoload -U compinit; compinit -u -D",
    "fish": "true",
}
PRINT_ARGUMENTS = {
    "bash": 'k6-sweep() { printf "<%s>\\n" "$*"; }',
    "zsh": 'k6-sweep() { printf "<%s>\\n" "$*"; }',
    "fish": "function k6-sweep; printf '<%s>\\n' \"$argv\"; end",
}
PATIENCE = 60.0


@contextmanager
def typing_into(shell: str) -> Iterator[Callable[[str, str], None]]:
    """Start the shell in a terminal; yield a function that types text and waits until the shell has written another."""
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}: apt-get install {shell}")
    master, slave = pty.openpty()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    # A shell reads keys only from its controlling terminal.
    command = ["setsid", "--ctty", *START[shell].split()]
    environment = {**os.environ, "PATH": path, "TERM": "xterm"}
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    shown = b""

    def type_and_wait(text: str, answer: str) -> None:
        nonlocal shown
        os.write(master, text.encode())
        deadline = time.monotonic() + PATIENCE
        while answer.encode() not in shown:
            ready, _, _ = select.select([master], [], [], deadline - time.monotonic())
            assert ready, f"{shell} did not write {answer!r} but {shown!r}"
            shown += os.read(master, 65536)
        shown = shown.partition(answer.encode())[2]

    try:
        yield type_and_wait
    finally:
        process.kill()
        process.wait()
        os.close(master)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes(shell: str) -> None:
    """After the line that the help names, TAB completes a command, its options and their values."""
    with typing_into(shell) as type_and_wait:
        lines = [PREPARE[shell], SHELLS[shell], PRINT_ARGUMENTS[shell], "echo re'ad'y", ""]
        type_and_wait("\r".join(lines), "ready")
        type_and_wait("k6-sweep ru\t--pat\tx\r", "<run --pattern x>")
        type_and_wait("k6-sweep watch --native --dete\tkuber\t\r", "<watch --native --detector kubernetes")
        type_and_wait("k6-sweep inject --only\t\r", "<inject --only-new")
        type_and_wait("k6-sweep help snap\t\r", "<help snapshot")


def test_the_readme_has_the_lines() -> None:
    """README.md has the line of each shell, as the help has it."""
    words = [line.split() for line in (Path(__file__).parents[2] / "README.md").read_text().splitlines()]
    for line in SHELLS.values():
        assert any(each[: len(line.split())] == line.replace("bashrc", "bashrc:").split() for each in words)


def test_an_unknown_shell() -> None:
    """For another shell, the command exits 2 and names those that it has."""
    done = subprocess.run(
        [sys.executable, "-m", "k6_sweep", "completion", "ksh"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert all(shell in done.stderr for shell in SHELLS)
    assert done.stdout == ""
