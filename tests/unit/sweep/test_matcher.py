"""The choice of the keys to delete, and the pattern that each counts for."""

import re
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from k6_sweep.patterns import Pattern
from k6_sweep.sweep.matcher import Matcher
from tests.unit.globs import GLOBS, KEYS, matches


@given(st.lists(GLOBS, min_size=1, max_size=5), KEYS)
def test_the_first_pattern_that_matches_owns_a_key(globs: list[str], keys: list[bytes]) -> None:
    """Each key counts only for the first pattern that matches it, and exactly these keys are chosen."""
    split = Matcher([Pattern(glob) for glob in globs]).split(list(keys))
    owners = [next((index for index, glob in enumerate(globs) if matches(glob, key)), None) for key in keys]
    assert sorted(split.chosen) == sorted(key for key, owner in zip(keys, owners, strict=True) if owner is not None)
    assert dict(split.counts) == {index: owners.count(index) for index in set(owners) - {None}}


@given(st.lists(st.text(alphabet="ab\xff", min_size=1, max_size=3), min_size=1, max_size=4), KEYS)
def test_prefixes_are_matched_like_any_pattern(starts: list[str], keys: list[bytes]) -> None:
    """Patterns like `prefix*`, which have their own code, choose the same keys as a regular expression."""
    patterns = [Pattern(f"{start}*") for start in starts]
    slow = [re.compile(pattern.regex) for pattern in patterns]
    split = Matcher(patterns).split(list(keys))
    assert sorted(split.chosen) == sorted(key for key in keys if any(regex.match(key) for regex in slow))


@given(st.lists(GLOBS, min_size=1, max_size=3), st.lists(GLOBS, min_size=1, max_size=3), KEYS)
def test_kept_keys_are_never_chosen(globs: list[str], keep: list[str], keys: list[bytes]) -> None:
    """A key that a keep pattern matches is spared and counted, even if other patterns match it."""
    split = Matcher([Pattern(glob) for glob in globs], [Pattern(glob) for glob in keep]).split(list(keys))
    assert not any(matches(glob, key) for glob in keep for key in split.chosen)
    owners = [next((index for index, glob in enumerate(globs) if matches(glob, key)), None) for key in keys]
    kept = [any(matches(glob, key) for glob in keep) for key in keys]
    spared = Counter(owner for owner, stays in zip(owners, kept, strict=True) if stays and owner is not None)
    assert dict(split.spared) == spared
    assert sum(count for _, count in split.counts) == len(split.chosen)
