"""Waits that end with the time, and what goes on meanwhile."""

from k6_sweep.sweep.in_time import pause


def test_something_else_goes_on_during_a_pause() -> None:
    """A pause calls `meanwhile` again and again, and ends as soon as that has used up the time."""
    left = [3.0]

    def look() -> None:
        left[0] -= 1

    pause(60.0, lambda: left[0], look)
    assert left == [0.0]
