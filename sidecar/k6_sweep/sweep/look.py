"""Looks through a limited number of keys for those that the patterns and keeps mean."""

from collections.abc import Iterator, Sequence
from typing import Final

from redis import exceptions

from k6_sweep.cluster.link import Link, pack
from k6_sweep.cluster.replies import keys_in
from k6_sweep.cluster.scan import scan_node
from k6_sweep.cluster.window import Window
from k6_sweep.sweep.count_slots import count_slots, key_lengths
from k6_sweep.sweep.matcher import Matcher

MOST_KEYS: Final = 100_000
"""Keys that one look reads. It takes about 0.1 s of CPU here and on the server, also if Redis holds millions."""
_LISTED_AT_ONCE: Final = 1000
_LISTED_FIRST: Final = 16
"""Keys in the first list, which shows how long they are."""
_BUDGET: Final = 0.005
"""Seconds of the server's work for one write, as in a sweep (--latency-budget)."""


class Look:
    """Shows keys to a matcher, primary by primary, until it has read MOST_KEYS."""

    def __init__(self, matcher: Matcher) -> None:
        self._matcher = matcher
        self._left = MOST_KEYS
        self.whole = True
        """Whether it has read all keys of the primaries so far."""

    def through(self, link: Link, slots: Sequence[int], *, clustered: bool) -> None:
        """Read the keys of a primary: those in the slots if there is a cluster, otherwise all.

        Raises:
            UnreachableError: The connection broke.
        """
        window = Window(_LISTED_AT_ONCE, _BUDGET)
        try:
            self._read(self._in_slots(link, slots, window) if clustered else scan_node(link, window))
        except exceptions.ResponseError:  # the preflight reports what is denied
            self.whole = False

    def _read(self, pages: Iterator[list[bytes]]) -> None:
        for page in pages:
            if self._left <= 0:
                self.whole = False
                return
            self._left -= len(page)
            self._matcher.split(page)

    def _in_slots(self, link: Link, slots: Sequence[int], window: Window) -> Iterator[list[bytes]]:
        """Yield the keys of the slots, those of several slots at once; of a very full slot only the first keys."""
        filled: dict[int, int] = {}
        for slot, count in count_slots(link, slots, window):
            if isinstance(count, Exception):
                raise count
            if count:
                filled[slot] = count
        lengths = key_lengths(link, filled, filled, window)
        group: list[bytes] = []
        expected, at_once = 0, _LISTED_FIRST
        last = next(reversed(filled), None)
        for slot, count in filled.items():
            length = lengths.get(slot, 0)
            limit = window.list_limit(length)
            self.whole = self.whole and count <= limit
            group.append(pack((b"CLUSTER", b"GETKEYSINSLOT", slot, limit)))
            expected += window.cost(min(count, limit), length)
            if expected >= at_once or slot == last:
                yield _keys(link, group, window)
                group, expected, at_once = [], 0, _LISTED_AT_ONCE


def _keys(link: Link, commands: Sequence[bytes], window: Window) -> list[bytes]:
    """Return the keys of several lists; raise the first error among the replies."""
    found: list[bytes] = []
    for reply in link.pipeline(commands):
        if isinstance(reply, exceptions.ResponseError):
            raise reply
        keys = keys_in(link.name, "CLUSTER GETKEYSINSLOT", reply)
        window.note_keys(keys)
        found += keys
    return found
