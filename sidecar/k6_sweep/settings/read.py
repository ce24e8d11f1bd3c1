"""Reads the options and environment variables of a command into its settings, and collects all their problems."""

import argparse
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from k6_sweep.settings import variables
from k6_sweep.settings.options import Option, Role, flag_name, options_of, suggestion, variable_name

_S = TypeVar("_S")


class _UsageError(Exception):
    pass


class Parser(argparse.ArgumentParser):
    """An argparse parser that raises its error and does not end the process."""

    def error(self, message: str) -> NoReturn:
        """Raise the error; argparse would exit."""
        raise _UsageError(message)

    def format_help(self) -> str:
        """Return the help; it ends with the examples of the program."""
        from k6_sweep.settings.help import end_of_help

        return super().format_help() + end_of_help(self.prog)


def add_options(parser: argparse.ArgumentParser, settings: type, command: str) -> dict[str, argparse.Action]:
    """Add the options that the command takes to the parser, under their headings; return them by field name."""
    headings: dict[str, argparse._ArgumentGroup] = {}
    added = {}
    for name, spec in options_of(settings).items():
        if spec.secret or not spec.serves(command):
            continue
        heading = headings.setdefault(spec.group, parser.add_argument_group(spec.group))
        value: dict[str, Any] = {"nargs": "?", "const": "true"} if spec.flag else {}
        added[name] = heading.add_argument(
            *((f"-{spec.letter}",) if spec.letter else ()),
            flag_name(name),
            dest=name,
            action="append",  # also what may be given once: a second, different value is a problem
            metavar=spec.metavar,
            help=f"{spec.help} ({'' if spec.required else 'default: '}{spec.default_text})".replace("%", "%%"),
            default=None,
            **value,
        )
    return added


def read(
    settings: type[_S], command: str, parser: Parser, argv: Sequence[str], environ: Mapping[str, str], others: type
) -> tuple[_S, dict[str, list[str]], list[str]]:
    """Build the settings of one command; an option takes precedence over its variable.

    `others` has settings of other commands: this command ignores their variables and does not report them.

    Returns:
        The settings; the given texts of each, in the order of declaration; and a sentence for each problem.
        A setting that could not be read has its default, or None if it has no default: the caller can check it for
        further problems, but must not work with it.
    """
    add_options(parser, settings, command)
    specs = options_of(others) | options_of(settings)
    problems: list[str] = []
    try:
        known, unknown = parser.parse_known_args(argv)
    except _UsageError as error:
        known, unknown = argparse.Namespace(), []
        fault = re.sub(r"'.*'|\".*\"", "", str(error))  # the given text may be a secret
        problems.append(f"{fault}; see k6-sweep {command} --help")
    unusable = bool(problems)  # then no option is known, and it would be wrong to report one as missing
    problems += [
        _unknown_option(text, specs, command)
        for before, text in zip(["", *unknown], unknown, strict=False)
        if text.startswith("-") or not before.startswith("-")  # the value of an unknown option may be a secret
    ]
    problems += variables.problems(environ, specs)
    values: dict[str, Any] = {}
    given: dict[str, list[str]] = {}
    for name, spec in options_of(settings).items():
        if spec.required:
            values[name] = () if spec.many else None
        if not spec.serves(command):
            continue
        texts, wrong = _texts(name, spec, known, environ)
        parsed = []
        for source, text in texts:
            try:
                parsed.append(spec.parse(text))
            except ValueError as error:
                wrong.append(f"{source} {error}")
        if not spec.many and any(each != parsed[0] for each in parsed):
            wrong.append(f"{flag_name(name)} is given twice, with different values; keep one")
        if spec.required and not texts and not unusable:
            wrong.append(missing(name, spec))
        if texts and len(parsed) == len(texts):
            given[name] = [text for _, text in texts] if spec.many else [texts[-1][1]]
            values[name] = tuple(parsed) if spec.many else parsed[-1]
        problems += wrong
    return settings(**values), given, problems


def _texts(
    name: str, spec: Option, known: argparse.Namespace, environ: Mapping[str, str]
) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the texts of a setting, each with the place where it was given; and the problems of those places."""
    # For `--keep=--`, argparse of Python 3.11 gives an empty list.
    option = [(flag_name(name), text if isinstance(text, str) else "--") for text in getattr(known, name, None) or ()]
    variable = [(variable_name(name), text) for text in _in_variable(environ.get(variable_name(name)), spec)]
    texts = option + variable if spec.unites else option or variable
    if spec.role is not Role.PROTECTS:
        return texts, []
    # An unset variable of a shell, of compose or of CI yields an empty text: the protection must not vanish with it.
    empty = dict.fromkeys(source for source, text in option + variable if not text.strip())
    problems = [f"{source} is empty; give it a value, or remove it" for source in empty]
    # Which of two lists that allow something is meant, is doubtful; one that spares (unites) spares all in both.
    if (
        spec.many
        and not spec.unites
        and option
        and variable
        and {text for _, text in option} != {text for _, text in variable}
    ):
        problems.append(f"{flag_name(name)} and {variable_name(name)} differ; keep one of them")
    return [(source, text) for source, text in texts if text.strip()], problems


def _in_variable(text: str | None, spec: Option) -> list[str]:
    """Return the values in a variable; an empty one counts as not set, unless it protects."""
    if text is None:
        return []
    strict = spec.role is Role.PROTECTS
    parts = [part.strip() for part in values_in(text)] if spec.many else [text]
    return parts if strict else [part for part in parts if part]


def values_in(text: str) -> list[str]:
    r"""Split the text of a list's variable at commas and line ends; `\,` is the glob for a comma."""
    return re.split(r"(?<!\\),|\n", text.rstrip("\r\n"))


def missing(name: str, spec: Option) -> str:
    """Return the sentence about a required setting that was not given."""
    return f"{_both_names(name, spec)} is required: {spec.help}"


def _both_names(name: str, spec: Option) -> str:
    return variable_name(name) if spec.secret else f"{flag_name(name)} ({variable_name(name)})"


def _unknown_option(text: str, specs: Mapping[str, Option], command: str) -> str:
    name = text.partition("=")[0]
    for field, spec in specs.items():
        if flag_name(field) == name and spec.secret:
            return f"{name} is not an option, because other processes can read it; set {variable_name(field)}"
        if flag_name(field) == name:
            return f"{name} is not an option of {command}; it belongs to {', '.join(sorted(spec.taken_by.value))}"
    if not name.startswith("-"):
        return "unexpected argument (not shown: it may be a secret)"
    options = [flag_name(field) for field, spec in specs.items() if spec.serves(command) and not spec.secret]
    if not name.startswith("--"):
        name = name[:2]  # the rest may be a secret: redis-cli takes the password as -aPASSWORD
    return f"unknown option {name}" + suggestion(name, options)
