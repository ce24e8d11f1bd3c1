"""The limits of a sweep: the rate, and the number of keys."""

import pytest

from k6_sweep.sweep.orders import Allowance, LimitReachedError, Pace


def test_the_rate_is_held() -> None:
    """At 100 keys a second the thousandth key waits until the tenth second, for any sizes of the requests."""
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    pace = Pace(100, clock=lambda: now, sleep=sleep)
    for keys in (1, 99, 300, 600, 5):
        pace.wait(keys, remaining=lambda: 60.0)
    assert now == pytest.approx(10.0)
    pace.wait(10_000, remaining=lambda: 12.0 - now)
    pace.wait(1, remaining=lambda: 12.0 - now)
    assert now == pytest.approx(12.0, abs=0.2)  # not longer than the remaining time


def test_no_rate_no_wait() -> None:
    """Without a rate there is no wait."""
    Pace(None, sleep=lambda _: pytest.fail("slept")).wait(10**9, remaining=lambda: 60.0)


def test_the_allowance() -> None:
    """The allowance gives each unit once, refuses what it does not have, and a refused request costs nothing."""
    allowance = Allowance(10)
    allowance.take(7)
    with pytest.raises(LimitReachedError):
        allowance.take(4)
    allowance.take(3)
    Allowance(None).take(10**9)
