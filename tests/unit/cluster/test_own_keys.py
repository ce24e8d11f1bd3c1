"""The names of k6-sweep's own keys, which each sweep recognises."""

from hypothesis import given
from hypothesis import strategies as st

from k6_sweep.cluster.own_keys import MARK, own_key, without_own
from k6_sweep.cluster.slots import key_slot
from k6_sweep.patterns import Pattern
from k6_sweep.sweep.matcher import Matcher
from tests.unit.globs import GLOBS


def test_own_keys_of_usual_patterns_share_a_slot() -> None:
    """A pattern matches its own key; those of patterns without a hash tag are in one slot of the cluster."""
    assert own_key(Pattern("test:*"), b"x") == b"test:{k6-sweep}x"
    assert own_key(Pattern("a:*:b"), b"x") == b"a:{k6-sweep}x:b"
    assert own_key(Pattern("exact"), b"x") is None
    assert key_slot(b"test:{k6-sweep}x") == key_slot(b"a:{k6-sweep}y:b") == key_slot(b"k6-sweep")


@given(GLOBS, st.binary(max_size=5))
def test_no_matcher_chooses_an_own_key(glob: str, name: bytes) -> None:
    """Each pattern with a star has an own key that it matches, and no sweep of that pattern chooses it."""
    pattern = Pattern(glob)
    key = own_key(pattern, name)
    if key is not None:
        assert MARK in key
        assert list(Matcher([pattern]).split([key]).chosen) == []


@given(st.lists(st.sampled_from([b"", b"{k6", b"-sweep}", b"a", b"x{k6-sweep}y", b"{k6-sweep}"])))
def test_only_own_keys_are_left_out(keys: list[bytes]) -> None:
    """A key is left out exactly if the mark is in it; two keys that together spell the mark stay."""
    assert without_own(list(keys)) == [key for key in keys if MARK not in key]
