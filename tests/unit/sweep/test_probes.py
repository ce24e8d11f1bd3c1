"""Probes: one key for each slot that the patterns can reach."""

import pytest

from k6_sweep.cluster.slots import ALL_SLOTS, key_slot
from k6_sweep.patterns import Pattern
from k6_sweep.sweep.matcher import Matcher
from k6_sweep.sweep.probes import Probes, pinned_slot, reachable_slots

PROBED = [["test:*"], ["{a}test:*", "test:*"], ["tes?:[xy]:*:z"], ["exact", "test:*"], ["test:{*}:a", "other:*"]]


@pytest.mark.parametrize("globs", PROBED)
def test_probes_are_in_their_slot_and_allowed(globs: list[str]) -> None:
    """Each slot's probe is a key of that slot that one of the patterns matches, so that an ACL lets it through."""
    patterns = [Pattern(glob) for glob in globs]
    probes = Probes(patterns, b"nonce")
    keys = [probes.key(slot) for slot in ALL_SLOTS]
    assert [key_slot(key) for key in keys] == list(ALL_SLOTS)
    assert len(Matcher(patterns).split(list(keys)).chosen) == len(keys)


def test_pinned_patterns() -> None:
    """A hash tag in the literal start, or no wildcard at all, leaves one slot; probes are made for it."""
    patterns = [Pattern("test:{a}:*"), Pattern("exact"), Pattern("test:{b}?")]
    assert [pinned_slot(pattern) for pattern in patterns] == [key_slot(b"a"), key_slot(b"exact"), key_slot(b"b")]
    slots = reachable_slots(patterns)
    assert slots == sorted({key_slot(b"a"), key_slot(b"exact"), key_slot(b"b")})
    assert [key_slot(Probes(patterns, b"nonce").key(slot)) for slot in slots] == slots
    assert reachable_slots([*patterns, Pattern("test:*")]) is ALL_SLOTS
    assert pinned_slot(Pattern("test:{}*")) is None
