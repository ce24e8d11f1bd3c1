"""Reads the options and environment variables of a command into its settings, and collects all their problems."""

import argparse
import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn, TypeVar

from k6_sweep.settings.options import PREFIX, Option, flag_name, options_of, variable_name

_SERVICE_LINK: Final = re.compile(r"_SERVICE_(HOST|PORT\w*)$|_PORT(_\d+_(TCP|UDP|SCTP)\w*)?$")
"""The names of variables that the kubelet adds for a Service whose name begins with "sweep"."""

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
            action="append" if spec.many else "store",
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
        said = re.sub(r"'.*'", "", str(error))  # the given text may be a secret
        problems.append(f"{said}; see k6-sweep {command} --help")
    problems += [
        _unknown_option(text, specs, command)
        for before, text in zip(["", *unknown], unknown, strict=False)
        if text.startswith("-") or not before.startswith("-")  # the value of an unknown option may be a secret
    ]
    problems += [
        _unknown_variable(name, specs)
        for name in sorted(environ)
        if name.startswith(PREFIX) and name[len(PREFIX) :].lower() not in specs and not _SERVICE_LINK.search(name)
    ]
    values: dict[str, Any] = {}
    given: dict[str, list[str]] = {}
    for name, spec in options_of(settings).items():
        if spec.required:
            values[name] = () if spec.many else None
        source, texts = _texts(name, spec, known, environ) if spec.serves(command) else ("", [])
        if texts:
            given[name] = texts
            try:
                parsed = [spec.parse(text) for text in texts]
                values[name] = tuple(parsed) if spec.many else parsed[-1]
            except ValueError as error:
                problems.append(f"{source} {error}")
        elif spec.required:
            problems.append(missing(name, spec))
    return settings(**values), given, problems


def _texts(name: str, spec: Option, known: argparse.Namespace, environ: Mapping[str, str]) -> tuple[str, list[str]]:
    """Return the place where the setting was given and its texts there; an empty variable counts as unset."""
    given = getattr(known, name, None)
    if given is not None:
        return flag_name(name), given if spec.many else [given]
    text = environ.get(variable_name(name), "")
    if spec.many:
        return variable_name(name), [part.strip() for part in re.split(r"[,\n]", text) if part.strip()]
    return variable_name(name), [text] if text else []


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
    return f"unknown option {name}" + suggestion(name, options)


def _unknown_variable(name: str, specs: Mapping[str, Option]) -> str:
    return f"unknown variable {name}" + suggestion(name, [variable_name(field) for field in specs])


def suggestion(name: str, candidates: Sequence[str]) -> str:
    """Return a clause with the candidate that is most like this name; empty if none is."""
    near = difflib.get_close_matches(name, candidates, n=1)
    return f"; did you mean {near[0]}?" if near else ""
