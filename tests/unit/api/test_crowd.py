"""A new connection always finds a place, and no connection with the token loses its own."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k6_sweep.api.crowd import Crowd, group_of


@dataclass(eq=False)
class Fake:
    """A connection from an address."""

    address: str
    ended: list[str] = field(default_factory=list)

    def end(self) -> None:
        self.ended.append(self.address)


def admitted(crowd: Crowd, *addresses: str) -> list[Fake]:
    members = [Fake(address) for address in addresses]
    for member in members:
        crowd.admit(member)
    return members


def test_the_oldest_has_to_go() -> None:
    """Above the limit, the oldest connection ends, and the new one stays."""
    first, second, third = admitted(Crowd(2, 100), "a", "a", "a")
    assert (first.ended, second.ended, third.ended) == (["a"], [], [])


def test_of_the_address_with_the_most() -> None:
    """One address cannot displace others."""
    members = admitted(Crowd(3, 100), "quiet", "loud", "loud", "loud", "loud")
    assert [bool(member.ended) for member in members] == [False, True, True, False, False]


def test_the_token_keeps_a_place() -> None:
    """A connection that has shown the token never ends for another one; if all have shown it, the new one ends."""
    crowd = Crowd(2, 100)
    first, second = admitted(crowd, "a", "a")
    crowd.trust(first)
    (third,) = admitted(crowd, "a")
    assert (first.ended, second.ended, third.ended) == ([], ["a"], [])
    crowd.trust(third)
    (fourth,) = admitted(crowd, "a")
    assert (first.ended, third.ended, fourth.ended) == ([], [], ["a"])


def test_who_leaves_makes_room() -> None:
    """A connection that leaves, once or twice, with the token or without, makes room for exactly one."""
    crowd = Crowd(2, 100)
    first, second = admitted(crowd, "a", "b")
    crowd.trust(first)
    for member in (first, first, second, second):
        crowd.leave(member)
    members = admitted(crowd, "a", "b", "c")
    assert [bool(member.ended) for member in members] == [True, False, False]
    crowd.trust(members[0])  # too late
    crowd.leave(members[0])
    assert [bool(member.ended) for member in [*members, *admitted(crowd, "d")]] == [True, True, False, False]


def test_the_largest_has_to_go() -> None:
    """Above the limit of bytes, the connection that holds the most ends; those with the token do not count."""
    crowd = Crowd(9, 100)
    first, second, third = admitted(crowd, "a", "b", "c")
    crowd.trust(third)
    crowd.hold(third, 1000)
    crowd.hold(first, 50)
    crowd.hold(second, 40)
    crowd.hold(first, 60)
    assert (first.ended, second.ended, third.ended) == ([], [], [])
    crowd.hold(second, 41)
    assert (first.ended, second.ended, third.ended) == (["a"], [], [])
    crowd.hold(second, 100)
    crowd.hold(second, 101)
    assert second.ended == ["b"]


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["stay", "trust", "leave"]))))
def test_never_more_than_the_limit(steps: list[tuple[str, str]]) -> None:
    """Whatever happens, no more than the limit is open, and those with the token stay."""
    crowd = Crowd(3, 100)
    members: list[Fake] = []
    trusted, gone = set(), set()
    for address, then in steps:
        (member,) = admitted(crowd, address)
        members.append(member)
        if then == "trust" and not member.ended:
            crowd.trust(member)
            trusted.add(member)
        if then == "leave":
            crowd.leave(member)
            gone.add(member)
        assert len([each for each in members if not each.ended and each not in gone]) <= 3
    assert not any(each.ended for each in trusted)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::1", True),
        ("", "", True),
    ],
)
def test_what_one_client_is(one: str, other: str, same: bool) -> None:
    """A client is an IPv4 address, or a /64 of IPv6, because each host has a whole /64."""
    assert (group_of(one) == group_of(other)) is same
