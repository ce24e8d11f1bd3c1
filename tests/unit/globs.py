"""Random globs and keys from a small alphabet, so that they often match."""

from hypothesis import strategies as st

from k6_sweep.patterns import Pattern
from k6_sweep.sweep.matcher import Matcher

GLOBS = st.text(alphabet="ab-]^[\\*?{}", min_size=1, max_size=8)
KEYS = st.lists(st.binary(max_size=6) | st.text(alphabet="ab-]^[\\*?{}", max_size=6).map(str.encode), max_size=30)


def matches(glob: str, key: bytes) -> bool:
    return bool(Matcher([Pattern(glob)]).split([key]).chosen)
