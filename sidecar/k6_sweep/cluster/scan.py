"""Reads a server's keys with SCAN, page by page: all keys, or the keys of one slot.

Newer servers store the keys of each slot apart, and the low 14 bits of their cursor are the slot: a scan can start at
one. No documentation promises this: k6-sweep uses it only on versions that are known to do it, and checks the result.

Source: https://redis.io/docs/latest/commands/scan/; kvstore.c of Redis 7.4 and Valkey 8.0 for the cursor.
"""

import time
from collections.abc import Iterator
from typing import Final

from k6_sweep.cluster.link import Link
from k6_sweep.cluster.replies import keys_in, number, parsing
from k6_sweep.cluster.slots import SLOT_COUNT, key_slot
from k6_sweep.cluster.topology import hello, version_of
from k6_sweep.cluster.window import Window

_FIRST_WITH_SLOT_CURSORS: Final = {"redis": (7, 4), "valkey": (8, 0)}


class SlotCursorError(Exception):
    """A scan of one slot did not see all of its keys."""


def scan_node(link: Link, window: Window) -> Iterator[list[bytes]]:
    """Yield all keys of a server; some keys may come twice.

    Raises:
        redis.exceptions.ResponseError: The server replies with an error, and the scan ends.
        UnreachableError: The connection broke.
    """
    cursor = b"0"
    while True:
        cursor, page = _scan(link, cursor, window)
        yield page
        if cursor == b"0":
            return


def scan_slot(link: Link, slot: int, window: Window) -> Iterator[list[bytes]]:
    """Yield all keys of one slot; some keys may come twice.

    Raises:
        SlotCursorError: The server cannot scan single slots, or its replies show that; keys may be missing.
        redis.exceptions.ResponseError: The server replies with an error.
        UnreachableError: The connection broke.
    """
    server, version = version_of(hello(link))
    if version < _FIRST_WITH_SLOT_CURSORS.get(server, (99,)):
        raise SlotCursorError
    missing = number(link.name, "CLUSTER COUNTKEYSINSLOT", link.ask(b"CLUSTER", b"COUNTKEYSINSLOT", slot))
    cursor = b"%d" % slot
    while int(cursor) % SLOT_COUNT == slot:
        cursor, page = _scan(link, cursor, window)
        mine = [key for key in page if key_slot(key) == slot]
        # Keys of other slots are in order only on the last page, whose cursor has left the slot.
        if len(mine) < len(page) and int(cursor) % SLOT_COUNT == slot:
            raise SlotCursorError
        missing -= len(mine)
        yield mine
        if cursor == b"0":
            break
    # SCAN may return a key twice, so this count can prove only that keys are missing.
    if missing > 0:
        raise SlotCursorError


def _scan(link: Link, cursor: bytes, window: Window) -> tuple[bytes, list[bytes]]:
    count, sent = window.page, time.monotonic()
    # Without MATCH, which takes one pattern: each further pattern would cost a scan.
    reply = link.ask(b"SCAN", cursor, b"COUNT", count)
    window.learn(count, sent, time.monotonic(), link.shortest_trip)
    with parsing(link.name, "SCAN", reply):
        following, page = reply
        keys = keys_in(link.name, "SCAN", page)
        window.note_keys(keys)
        return b"%d" % int(following), keys
