"""Sorts keys: which keys to delete, and which pattern owns each."""

import itertools
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Container, Sequence
from typing import Final, NamedTuple

from k6_sweep.cluster.own_keys import without_own
from k6_sweep.patterns import Pattern
from k6_sweep.sweep.unused import Unused

Counts = Sequence[tuple[int, int]]
"""Pairs of a pattern's index and the number of keys that it owns; patterns that own none may be missing."""


class Split(NamedTuple):
    """The result of sorting a list of keys."""

    chosen: Sequence[bytes]
    """The keys to delete."""
    counts: Counts
    """How many of them each pattern owns: the first pattern that matches owns a key."""
    spared: Counts
    """How many keys each pattern owns that match but are kept."""


_NOTHING: Final = Split((), (), ())


class Matcher:
    """Decides which keys of a list to delete, and which of several patterns owns each; never k6-sweep's own keys."""

    def __init__(
        self,
        patterns: Sequence[Pattern],
        keep: Sequence[Pattern] = (),
        existing: Container[bytes] | None = None,
        unused: Unused | None = None,
    ) -> None:
        """Prepare.

        Args:
            patterns: Which keys to delete.
            keep: Keys that match these are spared.
            existing: Keys that are in it are spared.
            unused: Learns which patterns match keys and which keeps spare some.
        """
        self._patterns = patterns
        self.size = len(patterns)
        """How many patterns there are."""
        self._ranges = _disjoint_ranges(patterns)
        self._match = re.compile(b"|".join(b"(" + pattern.regex + b")" for pattern in patterns)).match
        self._kept = re.compile(b"|".join(pattern.regex for pattern in keep)).match if keep else None
        self._existing = existing
        self._unused = unused

    def split(self, keys: list[bytes]) -> Split:
        """Sort a list of keys; the order of the list may change."""
        if not keys:
            return _NOTHING
        keys = without_own(keys)
        find = self._by_match if self._ranges is None else self._by_range
        found, counts = find(keys)
        if not found:
            return _NOTHING
        if self._unused:
            self._note(self._unused, found, counts)
        going = found
        if self._kept:
            going = [key for key in found if not self._kept(key)]
            if self._unused and len(going) < len(found):
                self._unused.note_kept([key for key in found if self._kept(key)])
        if self._existing is not None:
            going = [key for key in going if key not in self._existing]
        if len(going) == len(found):
            return Split(found, counts, ())
        stay = find(going)[1]
        return Split(going, stay, list((Counter(dict(counts)) - Counter(dict(stay))).items()))

    def _note(self, unused: Unused, found: Sequence[bytes], counts: Counts) -> None:
        if self._ranges is None:
            unused.note_matched(found)  # a key counts for one pattern, but it may match several
            return
        if unused.waits_for_patterns:
            for owner, _ in counts:
                unused.note_counted(self._patterns[owner])

    def _by_match(self, keys: list[bytes]) -> tuple[list[bytes], Counts]:
        found = [match for key in keys if (match := self._match(key))]
        owners = Counter(match.lastindex for match in found)
        return [match.string for match in found], [(owner - 1, count) for owner, count in owners.items() if owner]

    def _by_range(self, keys: list[bytes]) -> tuple[list[bytes], Counts]:
        """Find the keys of a prefix as a range of the sorted keys, in half the time of `_by_match`."""
        keys.sort()
        found: list[bytes] = []
        counts = []
        high = 0
        for start, end, owner in self._ranges or ():
            high = bisect_left(keys, start, high)
            if high == len(keys):
                break
            if keys[high].startswith(start):
                low = high
                high = bisect_left(keys, end, low) if end else len(keys)
                found += keys[low:high]
                counts.append((owner, high - low))
        return found, counts


def _disjoint_ranges(patterns: Sequence[Pattern]) -> list[tuple[bytes, bytes, int]] | None:
    """Return the ranges of keys, in order, that patterns like `prefix*` match, each with the pattern's index.

    A range ends before its second key; an empty second key means that the range has no end. None if a pattern has
    another form, or if a key could be in two ranges.
    """
    if not all(pattern.is_prefix for pattern in patterns):
        return None
    starts = sorted((pattern.literal_start, owner) for owner, pattern in enumerate(patterns))
    if any(second.startswith(first) for (first, _), (second, _) in itertools.pairwise(starts)):
        return None
    return [(start, _successor(start), owner) for start, owner in starts]


def _successor(prefix: bytes) -> bytes:
    """Return the first key after all keys that begin with the prefix; empty if there is none."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else b""
