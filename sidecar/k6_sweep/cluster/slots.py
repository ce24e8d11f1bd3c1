"""A cluster's 16,384 hash slots: which one a key is in, how to make a key for one, how to write many of them down.

Source: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/ (key distribution model, hash tags).
"""

import itertools
from binascii import crc_hqx
from collections.abc import Iterable, Sequence
from typing import Final

from k6_sweep.patterns import Pattern

SLOT_COUNT: Final = 16384
ALL_SLOTS: Final = range(SLOT_COUNT)


def key_slot(key: bytes) -> int:
    """Return the slot of a key; the text between the first `{` and the next `}` decides, if there is any."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return crc_hqx(key, 0) % SLOT_COUNT


_LETTERS: Final = b"@ABCDEFGHIJKLMNO"
_TAG_OF: Final = {
    crc_hqx(tag, 0) % SLOT_COUNT: tag
    # Letters whose low four bits are all different: these 16,384 words have 16,384 different slots.
    for tag in map(bytes, itertools.product(_LETTERS[:4], _LETTERS, _LETTERS, _LETTERS))
}
TAGS: Final = tuple(_TAG_OF[slot] for slot in ALL_SLOTS)
"""For each slot a hash tag that leads there."""


def pinned_slot(pattern: Pattern) -> int | None:
    """Return the only slot that the pattern's keys can be in; None where they can be in several."""
    start = pattern.literal_start
    opening = start.find(b"{")
    if pattern.exact or (opening >= 0 and start.find(b"}", opening + 1) > opening + 1):
        return key_slot(start)
    return None


def reachable_slots(patterns: Sequence[Pattern]) -> Sequence[int]:
    """Return the slots that keys of these patterns can be in, in order."""
    pinned = [pinned_slot(pattern) for pattern in patterns]
    if None in pinned:
        return ALL_SLOTS
    return sorted({slot for slot in pinned if slot is not None})


class Probes:
    """For each slot a key that does not exist and that the permissions cover: a write to it proves who owns the slot.

    A pattern's wildcards are filled so that the key matches it, because an ACL may allow nothing else.
    """

    def __init__(self, patterns: Sequence[Pattern], nonce: bytes) -> None:
        self._any_slot = reachable_slots(patterns) is ALL_SLOTS
        self._pinned = {
            slot: pattern.sample(nonce) or pattern.literal_start + b"{" + TAGS[slot] + b"}" + nonce
            for pattern in reversed(patterns)
            if (slot := pinned_slot(pattern)) is not None
        }
        mark = b"{@}"
        fill = mark + nonce
        samples = [sample.partition(mark) for pattern in patterns if (sample := pattern.sample(fill))]
        fallback = (patterns[0].literal_start.partition(b"{")[0], mark, nonce)
        self._head, _, self._tail = next((parts for parts in samples if parts[1] and b"{" not in parts[0]), fallback)

    def key(self, slot: int) -> bytes:
        """Return the slot's probe."""
        return b"%b{%b}%b" % (self._head, TAGS[slot], self._tail) if self._any_slot else self._pinned[slot]


def format_ranges(slots: Iterable[int]) -> str:
    """Write slots as `0-5460,5462`; an empty string for none."""
    parts = []
    for _, run in itertools.groupby(enumerate(sorted(slots)), lambda pair: pair[1] - pair[0]):
        numbers = [slot for _, slot in run]
        parts.append(f"{numbers[0]}-{numbers[-1]}" if len(numbers) > 1 else str(numbers[0]))
    return ",".join(parts)


def parse_ranges(text: str) -> list[int]:
    """Read what `format_ranges` wrote."""
    ends = [part.partition("-") for part in text.split(",") if part]
    return [slot for first, _, last in ends for slot in range(int(first), int(last or first) + 1)]
