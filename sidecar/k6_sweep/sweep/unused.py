"""Finds the patterns that matched no key and the keeps that spared none: they are probably misspelled."""

import re
from collections.abc import Sequence

from k6_sweep.patterns import Pattern


class Unused:
    """The patterns that have matched no key so far, and the keeps that have spared none.

    A pattern is looked for only until its first key, so the search costs nothing in the usual case. Several threads may
    call it: each only ever takes a pattern out.
    """

    def __init__(self, patterns: Sequence[Pattern], keep: Sequence[Pattern] = ()) -> None:
        self._patterns = _by_pattern(patterns)
        self._keep = _by_pattern(keep)

    @property
    def waits_for_patterns(self) -> bool:
        """Whether there is still a pattern without a key."""
        return bool(self._patterns)

    def note_matched(self, keys: Sequence[bytes]) -> None:
        """Take out the patterns that one of these keys matches."""
        _take_out(self._patterns, keys)

    def note_kept(self, keys: Sequence[bytes]) -> None:
        """Take out the keeps that spare one of these keys, each of which matches a pattern."""
        _take_out(self._keep, keys)

    def note_counted(self, pattern: Pattern) -> None:
        """Take out a pattern for which keys were counted."""
        self._patterns.pop(pattern, None)

    def sentences(self, *, before_test: bool = False) -> list[str]:
        """Return a sentence for each of them, after all keys were examined."""
        normal = " (it is normal that no key matches before a test)" if before_test else ""
        return [
            *(f"--pattern {each.text!r} matched no key; check its spelling{normal}" for each in self._patterns),
            *(f"--keep {each.text!r} spared no key; check its spelling, or remove it{normal}" for each in self._keep),
        ]


def _by_pattern(patterns: Sequence[Pattern]) -> dict[Pattern, re.Pattern[bytes]]:
    return {pattern: re.compile(pattern.regex) for pattern in patterns}


def _take_out(waiting: dict[Pattern, re.Pattern[bytes]], keys: Sequence[bytes]) -> None:
    for pattern, regex in list(waiting.items()):
        if any(map(regex.match, keys)):
            waiting.pop(pattern, None)
