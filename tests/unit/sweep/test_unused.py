"""Patterns without a match and keeps that spare nothing."""

import pytest

from k6_sweep.patterns import Pattern
from k6_sweep.sweep.matcher import Matcher
from k6_sweep.sweep.unused import Unused


@pytest.mark.parametrize(
    ("patterns", "keep", "keys", "without_key"),
    [
        (["test:*", "tset:*"], [], [b"test:1", b"user:1"], ["tset:*"]),
        (["test:*", "test:a*"], [], [b"test:a1"], []),  # the key counts for the first pattern, but both match it
        (["test:*", "test:b*"], [], [b"test:a1"], ["test:b*"]),
        (["test:*"], ["test:vip:*", "test:vpi:*"], [b"test:1", b"test:vip:1"], ["test:vpi:*"]),
        (["test:*"], ["user:*"], [b"test:1", b"user:1"], ["user:*"]),  # user:1 needs no keep to stay
        (["test:*"], ["test:v*", "test:vip*"], [b"test:vip"], []),
        (["test:*"], [], [], ["test:*"]),
    ],
)
def test_what_matched_or_spared_no_key_is_reported(
    patterns: list[str], keep: list[str], keys: list[bytes], without_key: list[str]
) -> None:
    """Exactly the patterns that no key matches, and the keeps that spare no matching key, are reported."""
    globs, kept = list(map(Pattern, patterns)), list(map(Pattern, keep))
    unused = Unused(globs, kept)
    matcher = Matcher(globs, kept, unused=unused)
    for key in keys:
        matcher.split([key])
    assert [sentence.split("'")[1] for sentence in unused.sentences()] == without_key
