"""Turns options and environment variables into one settings object, or into all that is wrong with them at once."""

import argparse
import dataclasses
import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeVar

PREFIX: Final = "SWEEP_"
_SERVICE_LINK: Final = re.compile(r"_SERVICE_(HOST|PORT\w*)$|_PORT(_\d+_(TCP|UDP|SCTP)\w*)?$")
"""Variables that the kubelet adds for a Service whose name begins with "sweep"."""

Parse = Callable[[str], Any]
Settings = TypeVar("Settings")


@dataclass(frozen=True)
class Option:
    """What a settings field needs to be an option: see `option` for the meaning of each part."""

    group: str
    help: str
    parse: Parse
    metavar: str
    many: bool
    flag: bool
    commands: frozenset[str] | None
    secret: bool
    required: bool
    command_defaults: Mapping[str, Any]
    shown_default: str | None
    letter: str | None

    def serves(self, command: str) -> bool:
        """Whether the command takes it."""
        return self.commands is None or command in self.commands


def option(
    group: str,
    help: str,  # noqa: A002  # the word that every option parser uses for it
    *,
    parse: Parse = str,
    metavar: str = "TEXT",
    default: Any = dataclasses.MISSING,  # noqa: ANN401  # a field's default has the field's type
    many: bool = False,
    flag: bool = False,
    commands: Sequence[str] | None = None,
    secret: bool = False,
    command_defaults: Mapping[str, Any] | None = None,
    shown_default: str | None = None,
    letter: str | None = None,
) -> Any:  # noqa: ANN401  # stands for a field of any type, like dataclasses.field
    """Declare a settings field that is an option and a variable.

    Args:
        group: The heading that it stands under in help and docs.
        help: What it does, the unit, and what leaving it out means.
        parse: Turns the text into the value; raises ValueError with a clause such as "must be a number".
        metavar: How its value is called in help.
        default: The value where it isn't given; without one it is required (by `commands`; None for others).
        many: It may be repeated; the variable separates by comma or newline. The field is a tuple.
        flag: It needs no value.
        commands: The commands that take it; None means all.
        secret: It is read from the environment only: a command line can be read by every process of the pod.
        command_defaults: Other defaults for some commands.
        shown_default: The default in words, where its value doesn't say it.
        letter: Its short form: "f" is -f.
    """
    described = Option(
        group=group,
        help=help,
        parse=boolean if flag else parse,
        metavar=metavar,
        many=many,
        flag=flag,
        commands=None if commands is None else frozenset(commands),
        secret=secret,
        required=default is dataclasses.MISSING,
        command_defaults=command_defaults or {},
        shown_default=shown_default,
        letter=letter,
    )
    fallback = None if described.required and commands is not None else default
    return dataclasses.field(default=fallback, metadata={"option": described})


def options_of(settings: type) -> dict[str, Option]:
    """Return each field's option by the field's name, in the order of declaration."""
    return {field.name: field.metadata["option"] for field in dataclasses.fields(settings)}


def default_text(settings: type, field: str) -> str:
    """Return a setting's default in words."""
    spec = options_of(settings)[field]
    if spec.shown_default:
        return spec.shown_default
    if spec.required:
        return "required"
    (default,) = (each.default for each in dataclasses.fields(settings) if each.name == field)
    if default is None or default == ():
        return "none"
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else str(default)


def _requirement(settings: type, field: str) -> str:
    text = default_text(settings, field)
    return text if options_of(settings)[field].required else f"default: {text}"


def flag_name(field: str) -> str:
    """Return the option's name on the command line."""
    return "--" + field.replace("_", "-")


def variable_name(field: str) -> str:
    """Return the environment variable's name."""
    return PREFIX + field.upper()


def boolean(text: str) -> bool:
    """Read a yes or no."""
    word = text.strip().lower()
    if word in {"true", "1", "yes", "on"}:
        return True
    if word in {"false", "0", "no", "off"}:
        return False
    raise ValueError("must be true or false")


class _UsageError(Exception):
    pass


class Parser(argparse.ArgumentParser):
    """An argparse parser that raises what it has to say instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of exiting."""
        raise _UsageError(message)


def add_options(parser: argparse.ArgumentParser, settings: type, command: str) -> None:
    """Give the parser the options that the command takes, under their headings."""
    headings: dict[str, argparse._ArgumentGroup] = {}
    for name, spec in options_of(settings).items():
        if spec.secret or not spec.serves(command):
            continue
        heading = headings.setdefault(spec.group, parser.add_argument_group(spec.group))
        value: dict[str, Any] = {"nargs": "?", "const": "true"} if spec.flag else {}
        heading.add_argument(
            *((f"-{spec.letter}",) if spec.letter else ()),
            flag_name(name),
            dest=name,
            action="append" if spec.many else "store",
            metavar="BOOL" if spec.flag else spec.metavar,
            help=f"{spec.help} ({_requirement(settings, name)})".replace("%", "%%"),
            default=None,
            **value,
        )


def read(
    settings: type[Settings], command: str, parser: Parser, argv: Sequence[str], environ: Mapping[str, str]
) -> tuple[Settings, list[str]]:
    """Build the settings of one command; an option beats its variable.

    Returns:
        The settings, and a sentence for each problem. A setting that could not be read then has its default, or None
        where it has none: good enough to look for further problems, not to work with.
    """
    specs = options_of(settings)
    problems: list[str] = []
    try:
        known, unknown = parser.parse_known_args(argv)
    except _UsageError as error:
        known, unknown = argparse.Namespace(), []
        said = re.sub(r"'.*'", "", str(error))  # what was given may be a secret
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
    for name, spec in _served(settings, command):
        source, texts = _texts(name, spec, known, environ)
        if not texts:
            if spec.required:
                problems.append(missing(name, spec))
                values[name] = () if spec.many else None
            elif command in spec.command_defaults:
                values[name] = spec.command_defaults[command]
            continue
        try:
            parsed = [spec.parse(text) for text in texts]
        except ValueError as error:
            problems.append(f"{source} {error}")
            values.update({name: () if spec.many else None} if spec.required else {})
        else:
            values[name] = tuple(parsed) if spec.many else parsed[-1]
    return settings(**values), problems


def given(
    settings: type, command: str, parser: Parser, argv: Sequence[str], environ: Mapping[str, str]
) -> dict[str, list[str]]:
    """Return what was given for each setting of the command, as text, in the order of declaration.

    Call it after `read` found no problem in the same arguments.
    """
    known, _ = parser.parse_known_args(argv)
    found = {name: _texts(name, spec, known, environ)[1] for name, spec in _served(settings, command)}
    return {name: texts for name, texts in found.items() if texts}


def _served(settings: type, command: str) -> Iterator[tuple[str, Option]]:
    return ((name, spec) for name, spec in options_of(settings).items() if spec.serves(command))


def _texts(
    name: str, spec: Option, known: argparse.Namespace, environ: Mapping[str, str]
) -> tuple[str, list[str] | None]:
    """Return where the setting was given and what was given there; an empty variable counts as unset."""
    given = getattr(known, name, None)
    if given is not None:
        return flag_name(name), given if spec.many else [given]
    text = environ.get(variable_name(name), "")
    if spec.many:
        return variable_name(name), [part.strip() for part in re.split(r"[,\n]", text) if part.strip()]
    return variable_name(name), [text] if text else None


def missing(name: str, spec: Option) -> str:
    """Say that a required setting was not given."""
    return f"{_both_names(name, spec)} is required: {spec.help}"


def _both_names(name: str, spec: Option) -> str:
    return variable_name(name) if spec.secret else f"{flag_name(name)} ({variable_name(name)})"


def _unknown_option(text: str, specs: Mapping[str, Option], command: str) -> str:
    name = text.partition("=")[0]
    for field, spec in specs.items():
        if flag_name(field) == name and spec.secret:
            return f"{name} is read from {variable_name(field)} only: other processes can read a command line"
        if flag_name(field) == name:
            return f"{name} is not an option of {command}, but of {', '.join(sorted(spec.commands or ()))}"
    if not name.startswith("-"):
        return "an argument that belongs to no option (it is not repeated here: it may be a secret)"
    return f"unknown option {name}" + _suggestion(name, [flag_name(field) for field in specs])


def _unknown_variable(name: str, specs: Mapping[str, Option]) -> str:
    return f"unknown variable {name}" + _suggestion(name, [variable_name(field) for field in specs])


def _suggestion(name: str, candidates: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, candidates, n=1)
    return f"; did you mean {near[0]}?" if near else ""
