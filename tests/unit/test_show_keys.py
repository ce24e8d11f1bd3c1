"""The sample of keys that `run --dry-run --show-keys` shows."""

import io

from k6_sweep.commands.show_keys import Sample
from k6_sweep.patterns import Pattern


def test_it_shows_the_first_keys_of_each_pattern_and_nothing_that_controls_a_terminal() -> None:
    """Each pattern has at most the given number of keys under it, each once and on one line."""
    output = io.StringIO()
    sample = Sample([Pattern("test:*"), Pattern("tset:*")], 2, output)
    for _ in range(2):
        sample.add([b"test:\x1b[31m\n", b"user:1", b"test:\xff"])
    sample.add([b"test:3"])
    sample.show()
    assert output.getvalue().splitlines() == [
        "test:*: would delete",
        "  test:\\x1b[31m\\n",
        "  test:\\xff",
        "tset:*: no key",
    ]
