"""`k6-sweep completion`: makes the script by which a shell completes commands, options and their values."""

from argparse import ArgumentParser
from collections.abc import Collection, Mapping
from typing import Any

import shtab

from k6_sweep.inject.settings import InjectSettings
from k6_sweep.settings.options import options_of
from k6_sweep.settings.parse import settings_of
from k6_sweep.settings.read import add_options
from k6_sweep.settings.values import OneOf


def completion(shell: str, shells: Collection[str], commands: Mapping[str, str]) -> str:
    """Return the script.

    Args:
        shell: One of the shells.
        shells: All shells, which the script completes as well.
        commands: The summary of each command of k6-sweep.
    """
    root = ArgumentParser(prog="k6-sweep")
    added = root.add_subparsers()
    for name, summary in commands.items():
        parser = added.add_parser(name, help=summary, description=summary)
        if name == "completion":
            parser.add_argument("shell", choices=tuple(shells))
        elif name == "help":
            parser.add_argument("command", choices=tuple(commands))
        elif name not in {"demo", "version"}:
            _add_options(parser, name)
    return shtab.complete(root, shell)


def _add_options(parser: ArgumentParser, command: str) -> None:
    settings = InjectSettings if command == "inject" else settings_of(command)
    specs = options_of(settings)
    for name, added in add_options(parser, settings, command).items():
        spec, action = specs[name], added
        if spec.flag:
            action.nargs = 0  # else zsh takes the next option for the flag's value
        if isinstance(spec.parse, OneOf):
            action.choices = spec.parse.words
        if spec.metavar == "FILE":
            _complete_files(action)


def _complete_files(action: Any) -> None:
    action.complete = shtab.FILE  # an attribute of shtab
