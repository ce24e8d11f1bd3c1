"""The lock by which endpoints keep to one sweep at a time: who has it, for how long, and where it is."""

import pytest
from redis import exceptions

from k6_sweep.cluster.link import Connect
from k6_sweep.cluster.lock import SweepLock, lock_key, lock_keys
from k6_sweep.cluster.slots import key_slot
from k6_sweep.errors import DeniedError, UnreachableError
from k6_sweep.patterns import Pattern
from tests.support import settings_for
from tests.unit.cluster.fake_redis import ALWAYS, FakeCluster

LOCK = lock_key([Pattern("test:*")])
SLOT = key_slot(LOCK)


def lock_of(cluster: FakeCluster) -> SweepLock:
    return SweepLock(settings_for(cluster.url), lambda _: cluster.connect)


def owner_of(cluster: FakeCluster) -> str:
    """Return the name of the node that owns the lock's slot."""
    return cluster.owner[SLOT].name


def test_the_lock_is_a_key_that_a_pattern_matches() -> None:
    """A user who may touch only the patterns' keys can set it; where no pattern has a star it lies beside them."""
    patterns = [Pattern("exact"), Pattern("test:*"), Pattern("other:*:x")]
    assert lock_keys(patterns) == [b"test:k6-sweep-lock", b"other:k6-sweep-lock:x"]
    assert lock_key(patterns) == b"test:k6-sweep-lock"
    assert lock_key([Pattern("exact")]) == b"exact:k6-sweep-lock"


def test_one_owner_at_a_time() -> None:
    """The second one learns who has the lock; once it is given back, the next one gets it."""
    cluster = FakeCluster()
    lock = lock_of(cluster)
    assert lock.take("first", 60) is None
    assert lock.take("second", 60) == "first"
    lock.release("first")
    cluster.now += 0.001  # it expires: only a sweep deletes
    assert lock.take("second", 60) is None
    assert lock.take("first", 60) == "second"
    assert {command[0] for _, command in cluster.sent} == {b"HELLO", b"CLUSTER", b"SET", b"GET"}


def test_the_lock_ends_by_itself() -> None:
    """An owner that never gives it back holds it for no longer than it said."""
    cluster = FakeCluster()
    lock = lock_of(cluster)
    assert lock.take("first", 1.5) is None
    cluster.now = 1.4
    assert lock.take("second", 60) == "first"
    cluster.now = 1.5
    assert lock.take("second", 60) is None


def test_somebody_elses_lock_is_left() -> None:
    """An owner whose lock has ended doesn't take it from the next one; a lock that is gone is no error."""
    cluster = FakeCluster()
    lock = lock_of(cluster)
    lock.release("first")
    lock.take("second", 60)
    lock.release("first")
    assert lock.take("third", 60) == "second"


def test_each_step_has_a_patience() -> None:
    """Redis may take two seconds for a step of taking the lock, and half a second for one of giving it back."""
    cluster, given = FakeCluster(), list[float]()

    def connect_within(seconds: float) -> Connect:
        given.append(seconds)
        return cluster.connect

    lock = SweepLock(settings_for(cluster.url), connect_within)
    lock.take("first", 60)
    lock.take("second", 60)
    assert set(given) == {2.0}
    given.clear()
    lock.release("first")
    assert set(given) == {0.5}


@pytest.mark.parametrize("word", [b"SET", b"GET"])
def test_a_moving_slot_is_asked_on_its_target(word: bytes) -> None:
    """ASK is followed, with ASKING, so two endpoints see the same lock while its slot moves."""
    cluster = FakeCluster()
    lock = lock_of(cluster)
    if word == b"GET":
        lock.take("first", 60)
    cluster.migrate(SLOT, "a", *([LOCK] if word == b"GET" else []))
    assert lock.take("second", 60) == ("first" if word == b"GET" else None)
    assert cluster["a"].holds(LOCK)
    assert {name for name, _ in cluster.got(b"ASKING")} == {"a"}


def test_a_slot_that_has_moved_is_asked_of_its_new_owner() -> None:
    """MOVED is followed, without ASKING: the topology that was read a moment ago is not up to date."""
    cluster = FakeCluster()
    cluster.on(b"SET", lambda: cluster.move(SLOT, to="a"))
    assert lock_of(cluster).take("first", 60) is None
    assert cluster["a"].holds(LOCK)
    assert cluster.got(b"ASKING") == []


def test_nodes_that_send_each_other_the_question_are_left() -> None:
    """After five nodes that each name another one, Redis counts as unreachable."""
    cluster = FakeCluster()
    cluster.on(b"SET", f"MOVED {SLOT} a:6379", node=owner_of(cluster), times=ALWAYS)
    cluster.on(b"SET", f"MOVED {SLOT} {owner_of(cluster)}:6379", node="a", times=ALWAYS)
    with pytest.raises(UnreachableError, match=r"does not take the lock's SET: MOVED"):
        lock_of(cluster).take("first", 60)
    assert len(cluster.got(b"SET")) == 5


def test_a_lock_that_comes_and_goes_is_not_taken() -> None:
    """If it is never free when it is set, and never there when it is read, that is told after five tries."""
    cluster = FakeCluster()
    lock = lock_of(cluster)
    lock.take("other", 60)

    def go() -> None:
        cluster.owner[SLOT].take(LOCK)

    def come() -> None:
        cluster.owner[SLOT].put(LOCK, b"other")

    cluster.on(b"GET", go, times=ALWAYS)
    cluster.on(b"SET", come, times=ALWAYS)
    with pytest.raises(UnreachableError, match="comes and goes"):
        lock.take("first", 60)
    assert len(cluster.got(b"GET")) == 5


@pytest.mark.parametrize("word", [b"SET", b"GET"])
def test_a_denial_names_what_the_lock_needs(word: bytes) -> None:
    """A user who may not SET or GET is told so, and which permissions the lock needs."""
    cluster = FakeCluster()
    lock = lock_of(cluster)
    lock.take("other", 60)
    cluster.deny(word)
    with pytest.raises(DeniedError, match=r"NOPERM .*the lock of the sweep needs SET and GET.*docs/redis\.md"):
        lock.take("first", 60)


@pytest.mark.parametrize("error", ["CLUSTERDOWN The cluster is down", "READONLY You can't write", "TRYAGAIN later"])
def test_an_error_that_passes_counts_as_unreachable(error: str) -> None:
    """A state that passes is not waited for: the caller may ask again."""
    cluster = FakeCluster()
    cluster.on(b"SET", error)
    with pytest.raises(UnreachableError, match=error):
        lock_of(cluster).take("first", 60)


def test_a_lock_without_a_place() -> None:
    """If no primary owns the lock's slot, or its primary is away, the lock cannot be taken."""
    cluster = FakeCluster()
    owner = cluster.owner.pop(SLOT)
    with pytest.raises(UnreachableError, match=f"no primary owns slot {SLOT}"):
        lock_of(cluster).take("first", 60)
    cluster.owner[SLOT] = owner
    cluster.on(b"SET", exceptions.ConnectionError("reset"))
    with pytest.raises(UnreachableError, match="lost the connection"):
        lock_of(cluster).take("first", 60)
    cluster.fail(owner.name)
    with pytest.raises(UnreachableError, match="Connection refused"):
        lock_of(cluster).take("first", 60)


def test_every_link_is_closed() -> None:
    """Nothing stays open between two steps, however they ended."""
    cluster = FakeCluster()
    lock = lock_of(cluster)
    lock.take("first", 60)
    cluster.on(b"SET", exceptions.ConnectionError("reset"))
    with pytest.raises(UnreachableError):
        lock.take("second", 60)
    assert len(cluster.links) > 3
    assert all(link.closed for link in cluster.links)
