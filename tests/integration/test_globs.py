"""k6-sweep's matching of patterns equals the real server's."""

import random

import pytest

from k6_sweep.cluster.link import pack
from k6_sweep.demo.servers import Node
from k6_sweep.patterns import Pattern
from k6_sweep.sweep.matcher import Matcher

LETTERS = b"ab-]^[\\*?\x00\n\x7f\x80\xff"
KEYS, GLOBS = 600, 2500


@pytest.mark.every_server
def test_matching_agrees_with_the_server(standalone: Node) -> None:
    """For thousands of patterns, malformed ones too, k6-sweep chooses the same binary keys as SCAN MATCH."""
    chance = random.Random(8)
    keys = {bytes(chance.choices(LETTERS, k=chance.randrange(5))) for _ in range(KEYS)}
    link = standalone.link()
    link.pipeline([pack((b"SET", key, b"")) for key in keys])
    globs = [bytes(chance.choices(LETTERS, k=chance.randrange(1, 7))) for _ in range(GLOBS)]
    pages = link.pipeline([pack((b"SCAN", b"0", b"MATCH", glob, b"COUNT", 10 * KEYS)) for glob in globs])
    link.close()
    agreed = 0
    for glob, (_, page) in zip(globs, pages, strict=True):
        pattern = Pattern(glob.decode("utf-8", "surrogateescape"))
        assert set(Matcher([pattern]).split(list(keys)).chosen) == set(page), glob
        agreed += bool(page)
    assert agreed > GLOBS / 4  # most patterns must have matched something
