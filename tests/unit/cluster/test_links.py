"""The size of one write."""

from k6_sweep.cluster.links import WriteSize


def test_writes_shrink_when_they_take_long_and_grow_again() -> None:
    """A round trip above the budget halves the next write; each one below lets it grow by an eighth, up to a bound."""
    size = WriteSize(most=1000, budget=0.005)
    sizes = []
    for seconds in [0.001] * 12 + [0.0071] * 2 + [0.0059]:
        size.learn(seconds)
        sizes.append(size.keys)
    assert sizes[:12] == sorted(sizes[:12])
    assert sizes[11] == 1000
    assert sizes[12:] == [500, 250, 282]


def test_a_long_way_is_not_taken_for_a_busy_server() -> None:
    """The time that every round trip takes is network latency, and does not shrink the writes."""
    size = WriteSize(most=1000, budget=0.005)
    for _ in range(20):
        size.learn(0.080)
    assert size.keys == 1000
    size.learn(0.086)
    assert size.keys == 500


def test_a_write_never_becomes_nothing() -> None:
    """A write has some keys even on the slowest server, unless its upper bound is lower."""
    size, tiny = WriteSize(most=1000, budget=0.005), WriteSize(most=3, budget=0.005)
    for seconds in [0.001] + [1.0] * 30:
        size.learn(seconds)
        tiny.learn(seconds)
    assert size.keys == 16
    assert tiny.keys == 3
