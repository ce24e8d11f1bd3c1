"""The help: each program's examples are at its end, and can be run."""

import contextlib
import itertools
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from k6_sweep.cli import COMMANDS, main
from k6_sweep.inject.parse import parse_inject
from k6_sweep.inject.settings import InjectSettings
from k6_sweep.settings.help import EXAMPLES
from k6_sweep.settings.options import flag_name, options_of
from k6_sweep.settings.parse import parse, settings_of
from k6_sweep.settings.read import Parser
from k6_sweep.settings.snapshot import SnapshotSettings
from k6_sweep.settings.values import readable_file, secret_file

FILES = {
    flag_name(name)
    for name, spec in (options_of(SnapshotSettings) | options_of(InjectSettings)).items()
    if spec.parse in {readable_file, secret_file}
}


def commands_in(line: str) -> Iterator[tuple[dict[str, str], list[str]]]:
    """Yield the variables and the arguments of each k6-sweep in a line for a shell."""
    words = shlex.shlex(line, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    for is_operator, group in itertools.groupby(words, lambda word: not set(word) - set("();<>|&")):
        command = [] if is_operator else list(group)
        variables = list(itertools.takewhile(lambda word: re.match(r"\w+=", word), command))
        if command[len(variables) : len(variables) + 1] == ["k6-sweep"]:
            yield dict(word.split("=", 1) for word in variables), command[len(variables) + 1 :]


def lines_of(examples: str) -> list[str]:
    """Return the lines for a shell, without comments; a continued line is one."""
    return [
        line.strip() for line in examples.replace("\\\n", "").splitlines() if line and not line.strip().startswith("#")
    ]


@pytest.mark.parametrize(
    ("environ", "arguments"),
    [command for examples in EXAMPLES.values() for line in lines_of(examples) for command in commands_in(line)],
    ids=lambda part: " ".join(part) if isinstance(part, list) else "",
)
def test_examples_have_no_problems(environ: Mapping[str, str], arguments: list[str], tmp_path: Path) -> None:
    """The parser accepts each example; the files that it names exist here."""
    file = tmp_path / "file"
    file.write_text("secret")
    environ = {name: "secret" if text.startswith("$") else text for name, text in environ.items()}
    command, *rest = [
        str(file) if before in FILES else word for before, word in zip(["", *arguments], arguments, strict=False)
    ]
    if command == "inject":
        problems = parse_inject(rest, environ)[2]
    else:
        parser = Parser(prog=f"k6-sweep {command}", allow_abbrev=False)
        problems = parse(settings_of(command), command, parser, rest, environ)[1]
    assert command in {*COMMANDS, "inject"}
    assert problems == []


def test_each_program_has_examples() -> None:
    """Each command has two or three examples with a comment, and the command itself is in them."""
    assert EXAMPLES.keys() == {"k6-sweep", *(f"k6-sweep {command}" for command in (*COMMANDS, "inject"))}
    for program, examples in EXAMPLES.items():
        blocks = examples.split("\n\n")
        assert 2 <= len(blocks) <= 3
        assert all(block.startswith("  # ") for block in blocks)
        assert program in examples
        assert max(map(len, examples.splitlines())) <= 110


@pytest.mark.parametrize("arguments", [["--help"], ["inject", "--help"]], ids=" ".join)
def test_the_help_ends_with_examples(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The general help and a command's help end with their examples."""
    with contextlib.suppress(SystemExit):
        main(arguments)
    examples = EXAMPLES[" ".join(["k6-sweep", *arguments[:-1]])]
    assert capsys.readouterr().out.endswith(f"\nExamples:\n{examples}")
