"""The slots that keys of patterns can be in, with a probe for each: an absent key that proves who owns the slot."""

from collections.abc import Sequence

from k6_sweep.cluster.slots import ALL_SLOTS, TAGS, key_slot
from k6_sweep.patterns import Pattern


def pinned_slot(pattern: Pattern) -> int | None:
    """Return the only slot that the pattern's keys can be in; None if they can be in several."""
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
    """For each slot, a key that does not exist but that the user may write: a write to it proves who owns the slot.

    `Probes` fills in a pattern's wildcards, so that the key matches it, because an ACL may allow no other keys.
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
