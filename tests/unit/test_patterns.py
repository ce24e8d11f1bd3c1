"""Patterns: the keys that they match, and their properties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k6_sweep.patterns import Pattern
from tests.unit.globs import GLOBS, KEYS, matches


@pytest.mark.parametrize(
    ("glob", "key", "expected"),
    [
        ("queue:*", b"queue:", True),
        ("queue:*", b"queues:1", False),
        ("queue:?", b"queue:\xff", True),
        ("queue:?", b"queue:ab", False),
        ("a[b-d]e", b"ace", True),
        ("a[d-b]e", b"ace", True),
        ("a[^b]e", b"abe", False),
        ("a[^b]e", b"a\ne", True),
        (r"a\*b", b"a*b", True),
        (r"a\*b", b"axb", False),
        ("a[]b", b"ab", False),
        ("a*b*c", b"a--b--c", True),
        ("a*b*c", b"a--b--", False),
        ("test:*\n", b"test:x\n", True),
        ("test:*", b"x\ntest:1", False),
    ],
)
def test_globs(glob: str, key: bytes, expected: bool) -> None:
    """A pattern follows the syntax of Redis's MATCH, over bytes, line ends included."""
    assert matches(glob, key) is expected


def test_many_stars_do_not_crawl() -> None:
    """A pattern on which a backtracking matcher would run for hours is matched fast."""
    assert not matches("a*" * 30 + "b", b"a" * 5000)


@pytest.mark.parametrize(
    ("narrow", "wide", "within"),
    [
        ("queue:*", "queue:*", True),
        ("queue:7:*", "queue:*", True),
        ("queue:7", "queue:*", True),
        ("queue:?[ab]*c", "queue:*", True),
        ("queue:a*c", "queue:*c", True),
        ("queue:[ab]", "queue:[a-c]", True),
        (r"queue:\*", "queue:*", True),
        ("queue:*", "queue:7:*", False),
        ("queue:*", "queue:?*", False),
        ("queue", "queue:*", False),
        ("qu*", "queue:*", False),
        ("queue:[a-c]", "queue:[ab]", False),
        ("*", "**", False),
        ("**", "*", True),
        ("", "queue:*", False),
    ],
)
def test_within(narrow: str, wide: str, within: bool) -> None:
    """`is_within` recognizes these patterns as inside or outside another."""
    assert Pattern(narrow).is_within(Pattern(wide)) is within


@given(GLOBS, GLOBS, KEYS)
def test_within_is_never_wrong(narrow: str, wide: str, keys: list[bytes]) -> None:
    """A pattern within another matches no key that the other does not match."""
    if Pattern(narrow).is_within(Pattern(wide)):
        assert all(matches(wide, key) for key in [*keys, b"", narrow.encode()] if matches(narrow, key))


@given(GLOBS)
def test_every_pattern_is_within_itself(glob: str) -> None:
    """Every pattern is within itself, so a request that repeats a configured pattern is never refused."""
    assert Pattern(glob).is_within(Pattern(glob))


@given(st.text(max_size=6).filter(bool), st.text(max_size=6))
def test_exactly_matches_one_key(key: str, other: str) -> None:
    """The pattern for one key matches this key, with any characters in it, and no other."""
    assert matches(Pattern.exactly(key).text, key.encode())
    assert matches(Pattern.exactly(key).text, other.encode()) is (key == other)


@given(GLOBS)
def test_a_sample_matches_its_pattern(glob: str) -> None:
    """A pattern matches the sample key that is made from it."""
    sample = Pattern(glob).sample(b"fill")
    assert sample is None or matches(glob, sample)


@given(GLOBS, st.binary(max_size=6))
def test_every_match_begins_with_the_literal_start(glob: str, key: bytes) -> None:
    """Every key that matches begins with the pattern's literal start."""
    assert not matches(glob, key) or key.startswith(Pattern(glob).literal_start)


@pytest.mark.parametrize(
    ("glob", "start", "broad"),
    [
        ("abc*", b"abc", False),
        ("ab*", b"ab", True),
        (r"a\*c[x]", b"a*c", False),
        ("[a]bc", b"", True),
        ("äh*", "äh".encode(), True),
    ],
)
def test_breadth(glob: str, start: bytes, broad: bool) -> None:
    """A pattern is broad if it begins with fewer than three literal characters."""
    pattern = Pattern(glob)
    assert (pattern.literal_start, pattern.is_broad) == (start, broad)


@pytest.mark.parametrize(
    ("glob", "clause"),
    [
        ("", "is empty"),
        ("abc[d", "without a ]"),
        (r"abc[d\]", "without a ]"),
        ("abc[a-ÿ]", "x86 and ARM"),
        ("abc[a-z]", None),
        (r"abc\[d", None),
    ],
)
def test_mistakes(glob: str, clause: str | None) -> None:
    """A pattern with a mistake that changes its meaning is reported."""
    mistake = Pattern(glob).mistake
    assert mistake is None if clause is None else clause in (mistake or "")


@given(GLOBS, GLOBS, KEYS)
def test_patterns_that_match_one_key_overlap(one: str, other: str, keys: list[bytes]) -> None:
    """Two patterns that both match some key overlap; so "no overlap" is a proof."""
    if any(matches(one, key) and matches(other, key) for key in keys):
        assert Pattern(one).overlaps(Pattern(other))
    assert Pattern(one).overlaps(Pattern(other)) == Pattern(other).overlaps(Pattern(one))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("user:*", "user:admin:*", True),
        ("*:admin", "user:*", True),
        ("user:*", "users:*", False),
        ("USER:*", "user:*", False),
        ("user", "user:*", False),
        ("user:[a-c]", "user:[c-e]*", True),
        ("user:[a-b]", "user:[c-e]*", False),
        ("user:?", "user:", False),
        ("user:[]*", "user:*", False),
        ("*", "*", True),
    ],
)
def test_overlaps(one: str, other: str, expected: bool) -> None:
    """Patterns overlap exactly if a key can match both."""
    assert Pattern(one).overlaps(Pattern(other)) is expected
