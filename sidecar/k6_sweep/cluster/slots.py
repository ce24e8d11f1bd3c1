"""A cluster's 16,384 hash slots: the slot of a key, a hash tag for each slot, and a short text form for many slots.

Source: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/ (key distribution model, hash tags).
"""

import itertools
from binascii import crc_hqx
from collections.abc import Iterable
from typing import Final

SLOT_COUNT: Final = 16384
ALL_SLOTS: Final = range(SLOT_COUNT)


def key_slot(key: bytes) -> int:
    """Return the slot of a key; only the text between the first `{` and the next `}` counts, if there is any."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        # With an empty tag `{}`, the specification hashes the whole key.
        if end > start + 1:
            key = key[start + 1 : end]
    # CRC16 with the polynomial 0x1021, as the specification has it, in C.
    return crc_hqx(key, 0) % SLOT_COUNT


_LETTERS: Final = b"@ABCDEFGHIJKLMNO"
_TAG_OF: Final = {
    crc_hqx(tag, 0) % SLOT_COUNT: tag
    # The low four bits of these letters are all different, so these 16,384 words have 16,384 different slots.
    for tag in map(bytes, itertools.product(_LETTERS[:4], _LETTERS, _LETTERS, _LETTERS))
}
TAGS: Final = tuple(_TAG_OF[slot] for slot in ALL_SLOTS)
"""For each slot, a hash tag that puts a key into it."""


def format_ranges(slots: Iterable[int]) -> str:
    """Return slots as `0-5460,5462`; no slots are an empty string."""
    parts = []
    for _, run in itertools.groupby(enumerate(sorted(slots)), lambda pair: pair[1] - pair[0]):
        numbers = [slot for _, slot in run]
        parts.append(f"{numbers[0]}-{numbers[-1]}" if len(numbers) > 1 else str(numbers[0]))
    return ",".join(parts)


def parse_ranges(text: str) -> list[int]:
    """Return the slots of a text from `format_ranges`.

    Raises:
        ValueError: The text is another one.
    """
    slots: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        run = range(int(first), int(last or first) + 1)
        if not run or run[0] <= (slots[-1] if slots else -1) or run[-1] >= SLOT_COUNT:
            raise ValueError("the slots are not in order, or do not exist")
        slots += run
    return slots
