"""Asks a primary how many keys each of several slots holds, and how long they are.

Source: https://redis.io/docs/latest/commands/cluster-countkeysinslot/ and …/cluster-getkeysinslot/
"""

import functools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from k6_sweep.cluster.link import Link, Sent, pack
from k6_sweep.cluster.replies import keys_in, not_supported
from k6_sweep.cluster.window import Window

_COST: Final = 2
"""A count costs the server about as much as this number of keys."""

_FULL: Final = 128
"""Up to this number, the keys of a slot fit into one list even if they are very long."""


@functools.cache
def _command(slot: int) -> bytes:
    """Return the command, packed once because a sweep sends it to several primaries."""
    return pack((b"CLUSTER", b"COUNTKEYSINSLOT", slot))


def count_slots(link: Link, slots: Sequence[int], window: Window) -> Iterator[tuple[int, int | Exception]]:
    """Yield each slot with the reply: a number, or an error as the exception itself.

    Raises:
        UnreachableError: The connection broke.
        DeniedError: A reply is neither a number nor an error.
    """
    for part, replies in _ask(link, slots, _command, window):
        for reply in replies:
            if not isinstance(reply, int | Exception):
                raise not_supported(link.name, "CLUSTER COUNTKEYSINSLOT", reply)
        yield from zip(part, replies, strict=True)


def key_lengths(link: Link, sizes: Mapping[int, int], slots: Iterable[int], window: Window) -> dict[int, int]:
    """Return the bytes of one key of each slot that holds many: they may be long.

    Raises:
        UnreachableError: The connection broke.
        DeniedError: A reply is neither a list nor an error.
    """
    lengths = {}
    full = [slot for slot in slots if sizes.get(slot, 0) > _FULL]
    for part, replies in _ask(link, full, lambda slot: pack((b"CLUSTER", b"GETKEYSINSLOT", slot, 1)), window):
        for slot, reply in zip(part, replies, strict=True):
            if not isinstance(reply, Exception) and (keys := keys_in(link.name, "CLUSTER GETKEYSINSLOT", reply)):
                window.note_keys(keys)
                lengths[slot] = len(keys[0])
    return lengths


def _ask(
    link: Link, slots: Sequence[int], command: Callable[[int], bytes], window: Window
) -> Iterator[tuple[Sequence[int], Sequence[Any]]]:
    left = deque(slots)
    asked: deque[tuple[list[int], Sent]] = deque()
    unanswered = 0
    while left or asked:
        while left and (not asked or unanswered + window.keys <= window.in_flight):
            part = [left.popleft() for _ in range(min(len(left), max(1, window.keys // _COST)))]
            asked.append((part, link.send([command(slot) for slot in part])))
            unanswered += _COST * len(part)
        part, sent = asked.popleft()
        replies = sent.replies()
        unanswered -= _COST * len(part)
        window.learn(_COST * len(part), sent.at, time.monotonic(), link.shortest_trip)
        yield part, replies
