"""The register of running tests: who meets whom, how entries end, and what a user may be denied."""

from dataclasses import replace

import pytest

from k6_sweep.cluster.register import UNREADABLE, Register
from k6_sweep.cluster.slots import key_slot
from k6_sweep.coordination import LIFETIME, Entry
from k6_sweep.errors import DeniedError, UnreachableError
from k6_sweep.patterns import Pattern
from tests.support import settings_for
from tests.unit.cluster.fake_redis import ALWAYS, FakeCluster

SLOT = key_slot(b"{k6-sweep}")
FOR_ALL, OF_TEST, OF_OTHER = b"{k6-sweep}runs", b"test:{k6-sweep}runs", b"other:{k6-sweep}runs"


def entry(run: str, *patterns: str) -> Entry:
    return Entry(run, f"load/{run}", 1000.0, tuple(map(Pattern, patterns or ("test:*",))))


def register(cluster: FakeCluster, *patterns: str, clock_ahead: float = 0.0) -> Register:
    wanted = tuple(map(Pattern, patterns or ("test:*",)))
    return Register(settings_for(cluster.url).redis_url, wanted, cluster.connect, lambda: cluster.now + clock_ahead)


def runs(entries: list[Entry]) -> list[str]:
    return sorted(("owed " if each.owed else "") + each.run for each in entries)


def test_an_entry_survives_the_way_through_redis() -> None:
    """What a test enters is what another one reads, also if a pattern has bytes that are not text."""
    cluster = FakeCluster()
    pattern = Pattern(b"test:\xff*".decode("utf-8", "surrogateescape"))
    written = Entry("a", "load/a", 1.5, (pattern,), keep=(Pattern("test:k*"),), sweeps=False)
    assert register(cluster).enter(written) == [written]
    assert register(cluster).read() == [written]


def test_a_running_test_is_in_each_set_once() -> None:
    """A test is in the set of each pattern with a star and in that of all tests; a renewal adds no second member."""
    cluster = FakeCluster()
    patterns = ("test:*", "exact", "other:*")
    mine = register(cluster, *patterns)
    mine.enter(entry("a", *patterns))
    cluster.now = 300
    mine.enter(replace(entry("a", *patterns), since=1300.0))  # restarted in the same pod
    node = cluster.owner[SLOT]
    assert {key: len(members) for key, members in node.sets.items()} == {FOR_ALL: 1, OF_TEST: 1, OF_OTHER: 1}
    assert {command[0] for _, command in cluster.sent} == {b"HELLO", b"CLUSTER", b"ZRANGE", b"ZADD", b"ZREM"}
    mine.remove([entry("a", *patterns)])
    assert cluster.keys == set()


def test_an_entry_ends_by_itself() -> None:
    """An entry that is not renewed is dead after its lifetime and a minute; the next reader removes it."""
    cluster = FakeCluster()
    register(cluster).enter(entry("a"))
    cluster.now = LIFETIME + 59
    assert runs(register(cluster).read()) == ["a"]
    cluster.now = LIFETIME + 61
    assert register(cluster).read() == []
    assert cluster.keys == set()


@pytest.mark.parametrize("ahead", [-60.0, 60.0])
def test_clocks_may_differ_by_a_minute(ahead: float) -> None:
    """A reader whose clock differs by a minute sees a test that is renewed, and not one that died long ago."""
    cluster = FakeCluster()
    for cluster.now in (0.0, 300.0):
        register(cluster).enter(entry("a"))
    cluster.now = 599
    assert runs(register(cluster, clock_ahead=ahead).read()) == ["a"]
    cluster.now = 300 + LIFETIME + 121
    assert register(cluster, clock_ahead=ahead).read() == []


def test_an_owed_sweep_does_not_expire() -> None:
    """A test that has ended is owed until someone removes it; its running entry is gone before it looks."""
    cluster = FakeCluster()
    register(cluster).enter(entry("a"))
    register(cluster).enter(entry("b"))
    assert runs(register(cluster).owe(replace(entry("a"), owed=True))) == ["b", "owed a"]
    cluster.now = 1e7
    assert runs(register(cluster).read()) == ["owed a"]
    register(cluster).enter(entry("a"))  # k6 runs again: its watcher will sweep
    assert runs(register(cluster).read()) == ["a"]


def test_tests_with_limited_users_meet_at_a_common_pattern() -> None:
    """Users who may not use the set of all tests meet others with the same pattern, and miss those without."""
    cluster = FakeCluster()
    register(cluster, "test:*").enter(entry("unlimited"))
    denied = "NOPERM User k6 has no permissions to access one of the keys used as arguments"
    for word in (b"ZADD", b"ZRANGE"):
        cluster.on(word, lambda: denied if cluster.sent[-1][1][1] == FOR_ALL else None, times=ALWAYS)
    register(cluster, "more:*", "test:*").enter(entry("limited", "more:*", "test:*"))
    assert runs(register(cluster, "test:*").read()) == ["limited", "unlimited"]
    assert runs(register(cluster, "more:*").read()) == ["limited"]
    assert register(cluster, "tes*").read() == []


@pytest.mark.parametrize("word", [b"ZADD", b"ZRANGE"])
def test_a_denial_is_an_error(word: bytes) -> None:
    """A user who may use no set gets an error that names the command and where to find the permissions."""
    cluster = FakeCluster()
    cluster.deny(word)
    with pytest.raises(DeniedError, match=rf"NOPERM .*{word.decode()} on the register.*docs/redis\.md"):
        register(cluster).enter(entry("a"))


def test_a_full_redis_says_so() -> None:
    """A Redis without memory for the entry is an error with the server's words; the sets can still be read."""
    cluster = FakeCluster()
    register(cluster).enter(entry("a"))
    cluster.on(b"ZADD", "OOM command not allowed when used memory > 'maxmemory'.", times=ALWAYS)
    with pytest.raises(DeniedError, match="OOM command not allowed"):
        register(cluster).enter(entry("b"))
    assert runs(register(cluster).read()) == ["a"]


def test_a_moving_slot_and_a_lost_one() -> None:
    """The register follows a slot that moves; without an owner of the slot, Redis counts as unreachable for now."""
    cluster = FakeCluster()
    register(cluster).enter(entry("a"))
    cluster.migrate(SLOT, "c", OF_TEST)
    register(cluster).enter(entry("b"))
    assert runs(register(cluster).read()) == ["a", "b"]
    cluster.owner.pop(SLOT)
    with pytest.raises(UnreachableError, match=f"no primary owns slot {SLOT}"):
        register(cluster).read()


def test_an_unreadable_entry_is_in_the_way() -> None:
    """An entry that this version cannot read overlaps every pattern until it expires, and no sweep is left to it."""
    cluster = FakeCluster()
    node = cluster.owner[SLOT]
    node.put(FOR_ALL)
    future = b'{"run":"x","who":"x","since":1e99,"patterns":["a:*"],"keep":[],"sweeps":true,"owed":true}'
    node.sets[FOR_ALL] = {b'{"run":1}': b"600", b"rubbish": b"inf", future: b"-1"}
    _, running, owed = sorted(register(cluster).read(), key=lambda each: each.owed)
    assert running.overlaps([Pattern("x:*")])
    assert not running.covers(entry("a"))
    assert owed.owed
    assert "unreadable" in str(owed)
    cluster.now = 661
    assert register(cluster).read() == [owed]


def test_every_link_is_closed() -> None:
    """Every connection is closed after each step, however the step ended."""
    cluster = FakeCluster()
    register(cluster).enter(entry("a"))
    cluster.on(b"ZADD", "CLUSTERDOWN The cluster is down")
    with pytest.raises(UnreachableError, match="cannot use the register of tests now: CLUSTERDOWN"):
        register(cluster).enter(entry("b"))
    assert all(link.closed for link in cluster.links)


@pytest.mark.parametrize(
    "member",
    [
        b'{"run":"x","who":"w","since":1,"patterns":[5],"keep":[],"sweeps":true,"owed":false}',
        b'{"run":"x","who":"w","since":1,"patterns":["\\ud800"],"keep":[],"sweeps":true,"owed":false}',
        b'{"run":"x","who":"w","since":1,"patterns":[],"keep":[],"sweeps":true,"owed":false}',
        b"[" * 20_000,
    ],
)
def test_no_entry_breaks_the_register(member: bytes) -> None:
    """Whatever another program writes there counts as a running test, and is no internal error."""
    cluster = FakeCluster()
    node = cluster.owner[SLOT]
    node.put(FOR_ALL)
    node.sets[FOR_ALL] = {member: b"600"}
    (found,) = register(cluster).read()
    assert (found.who, found.owed) == (UNREADABLE, False)


def test_a_settled_sweep_leaves_the_test_that_has_begun_again() -> None:
    """If a test begins again while its owed sweep is done by another run, only the owed sweep is removed."""
    cluster = FakeCluster()
    ended = replace(entry("a"), owed=True)
    register(cluster).owe(ended)
    node = cluster.owner[SLOT]
    owed = dict(node.sets[FOR_ALL])
    register(cluster).enter(entry("a"))
    for held in (FOR_ALL, OF_TEST):
        node.sets[held] |= owed
    register(cluster).remove([ended])
    assert runs(register(cluster).read()) == ["a"]


def test_if_all_sets_are_needed_one_denial_is_enough() -> None:
    """With `whole`, a user who may not use the set for all patterns gets an error: some tests would not be met."""
    cluster = FakeCluster()
    cluster.on(b"ZADD", "NOPERM No permissions to access a key", times=1)
    register(cluster).enter(entry("a"))
    cluster.on(b"ZADD", "NOPERM No permissions to access a key", times=1)
    url = settings_for(cluster.url).redis_url
    with pytest.raises(DeniedError, match="NOPERM"):
        Register(url, [Pattern("test:*")], cluster.connect, whole=True).enter(entry("b"))
