"""Shows a sample of the keys that a sweep would delete, on the terminal only: a key may hold personal data."""

import re
import sys
from collections.abc import Sequence
from typing import Final, TextIO

from k6_sweep.errors import SettingsError
from k6_sweep.patterns import Pattern

_LONGEST: Final = 200
"""Characters of a key that are shown."""


class Sample:
    """The first keys that were found for each pattern; several threads may add keys."""

    def __init__(self, patterns: Sequence[Pattern], size: int, output: TextIO) -> None:
        self._size = size
        self._output = output
        self._found: list[tuple[Pattern, re.Pattern[bytes], dict[bytes, None]]] = [
            (pattern, re.compile(pattern.regex), {}) for pattern in patterns
        ]

    def add(self, keys: Sequence[bytes]) -> None:
        """Take what is still needed from these keys."""
        for _, regex, found in self._found:
            if len(found) < self._size:
                found.update(dict.fromkeys([key for key in keys if regex.match(key)][: self._size - len(found)]))

    def show(self) -> None:
        """Write each pattern with its keys under it."""
        for pattern, _, found in self._found:
            self._output.write(f"{_printable(pattern.raw)}: {'would delete' if found else 'no key'}\n")
            self._output.writelines(f"  {_printable(key)}\n" for key in list(found)[: self._size])


def terminal() -> TextIO:
    """Return the terminal: standard error, or standard output if standard error goes elsewhere.

    Raises:
        SettingsError: Neither is a terminal; in a container the names would be kept in its log.
    """
    for stream in (sys.stderr, sys.stdout):
        if stream.isatty():
            return stream
    raise SettingsError(
        ["--show-keys prints names of keys to a terminal only, and there is none; run it in an interactive terminal"]
    )


def _printable(name: bytes) -> str:
    """Return a name whose characters cannot control the terminal, shortened."""
    text = name.decode("utf-8", "backslashreplace")
    shown = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
    return shown if len(shown) <= _LONGEST else shown[:_LONGEST] + "…"
