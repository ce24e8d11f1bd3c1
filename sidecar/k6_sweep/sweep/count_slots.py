"""Asks a primary how many keys each of several slots holds.

Source: https://redis.io/docs/latest/commands/cluster-countkeysinslot/
"""

import functools
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from k6_sweep.cluster.link import Link, Sent, pack
from k6_sweep.cluster.replies import number
from k6_sweep.cluster.window import Window

_COST: Final = 2
"""A count costs the server about as much as this number of keys."""


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
    left = deque(slots)
    asked: deque[tuple[list[int], Sent]] = deque()
    unanswered = 0
    while left or asked:
        while left and (not asked or unanswered + window.keys <= window.in_flight):
            part = [left.popleft() for _ in range(min(len(left), max(1, window.keys // _COST)))]
            asked.append((part, link.send([_command(slot) for slot in part])))
            unanswered += _COST * len(part)
        part, sent = asked.popleft()
        replies = sent.replies()
        unanswered -= _COST * len(part)
        window.learn(_COST * len(part), sent.at, time.monotonic(), link.shortest_trip)
        for slot, reply in zip(part, replies, strict=True):
            yield slot, reply if isinstance(reply, Exception) else number(link.name, "CLUSTER COUNTKEYSINSLOT", reply)
