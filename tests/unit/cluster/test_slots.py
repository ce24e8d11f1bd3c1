"""Slots: a hash tag for each, and the short text form of many slots."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from k6_sweep.cluster.slots import ALL_SLOTS, TAGS, format_ranges, key_slot, parse_ranges


def test_every_slot_has_a_tag() -> None:
    """Each of the 16,384 tags hashes to its own slot."""
    assert [key_slot(b"{%b}" % tag) for tag in TAGS] == list(ALL_SLOTS)


@given(st.sets(st.integers(0, 16383)))
def test_ranges_can_be_read_back(slots: set[int]) -> None:
    """Ranges contain the same slots, each once, in order."""
    text = format_ranges(slots)
    ends = [[int(end) for end in part.split("-")] for part in text.split(",") if part]
    assert list(itertools.chain.from_iterable(range(end[0], end[-1] + 1) for end in ends)) == sorted(slots)


@given(st.sets(st.integers(0, 16383)))
def test_unproven_slots_can_be_read_back(slots: set[int]) -> None:
    """The ranges of unproven slots are read back as they were written."""
    assert parse_ranges(format_ranges(slots)) == sorted(slots)
    assert parse_ranges(format_ranges(ALL_SLOTS)) == list(ALL_SLOTS)
