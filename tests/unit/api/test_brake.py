"""The limit of wrong tokens for each address."""

import pytest

from k6_sweep.api.brake import Brake


class Clock:
    """Time that passes only when a test lets it."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def passed(brake: Brake, times: int, address: str = "192.0.2.1") -> int:
    return sum(brake.passes(address) for _ in range(times))


def test_thirty_are_free_and_then_ten_a_second() -> None:
    """An address may send 30 wrong tokens at once, then 10 a second; after a pause, 30 again, and no more."""
    clock = Clock()
    brake = Brake(clock)
    assert passed(brake, 100) == 30
    for _ in range(3):
        clock.now += 1
        assert passed(brake, 100) == 10
    clock.now += 1000
    assert passed(brake, 100) == 30


@pytest.mark.parametrize(
    ("other", "shares"),
    [("192.0.2.2", False), ("2001:db8:0:1::2", True), ("2001:db8:0:2::1", False)],
)
def test_each_address_has_its_own(other: str, shares: bool) -> None:
    """Other addresses have their own limit; all addresses of an IPv6 /64 share one."""
    brake = Brake(Clock())
    assert passed(brake, 31, "2001:db8:0:1::1") == 30
    assert brake.passes(other) is not shares


def test_many_addresses_take_little_memory() -> None:
    """The oldest of thousands of addresses are dropped, and one that goes on is not."""
    brake = Brake(Clock())
    passed(brake, 31)
    for number in range(20_000):
        brake.passes(f"10.1.{number // 250}.{number % 250}")
        assert not brake.passes("192.0.2.1")
    assert len(brake._left) == 4096
