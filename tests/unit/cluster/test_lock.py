"""The lock that limits endpoints to one sweep at a time: its owner, its duration and its node."""

import pytest
from redis import exceptions

from k6_sweep.cluster.endpoint_keys import EndpointKeys, endpoint_key
from k6_sweep.cluster.link import Connect
from k6_sweep.cluster.lock import LOCK_NAME, Holder, SweepLock
from k6_sweep.cluster.slots import key_slot
from k6_sweep.errors import DeniedError, UnreachableError
from k6_sweep.patterns import Pattern
from tests.support import quiet_log, settings_for
from tests.unit.cluster.fake_redis import ALWAYS, FakeCluster

LOCK = endpoint_key([Pattern("test:*")], LOCK_NAME)
SLOT = key_slot(LOCK)


def sweep(name: str) -> Holder:
    return Holder(name, "load/pod-1", 1.5)


def lock_of(cluster: FakeCluster) -> SweepLock:
    return SweepLock(EndpointKeys(settings_for(cluster.url), lambda _: cluster.connect), quiet_log())


def owner_of(cluster: FakeCluster) -> str:
    """Return the name of the node that owns the lock's slot."""
    return cluster.owner[SLOT].name


def test_the_lock_is_a_key_that_a_pattern_matches() -> None:
    """A pattern matches the lock's key, so its user can set it; without a star, the key only begins like a pattern."""
    patterns = [Pattern("exact"), Pattern("test:*"), Pattern("other:*:x")]
    assert endpoint_key(patterns, b"lock") == b"test:{k6-sweep}lock"
    assert endpoint_key([Pattern("exact")], b"lock") == b"exact:{k6-sweep}lock"


def test_one_owner_at_a_time() -> None:
    """A second owner gets the id of the first; after the release the next one gets the lock."""
    cluster = FakeCluster()
    lock = lock_of(cluster)
    assert lock.take(sweep("first"), 60) is None
    assert lock.take(sweep("second"), 60) == sweep("first")
    lock.release(sweep("first"))
    cluster.now += 0.001  # release() lets it expire: only a sweep deletes
    assert lock.take(sweep("second"), 60) is None
    assert lock.take(sweep("first"), 60) == sweep("second")
    assert {command[0] for _, command in cluster.sent} == {b"HELLO", b"CLUSTER", b"SET", b"GET"}


def test_a_full_redis_is_swept_without_a_lock() -> None:
    """A Redis without memory for the lock stops no sweep, unless another sweep holds the lock."""
    cluster = FakeCluster()
    lock = lock_of(cluster)
    cluster.on(b"SET", "OOM command not allowed when used memory > 'maxmemory'.", times=2)
    assert lock.take(sweep("first"), 60) is None
    lock.release(sweep("first"))
    cluster.owner[SLOT].put(LOCK, b"other")
    assert lock.take(sweep("first"), 60) == Holder("other")


def test_the_lock_ends_by_itself() -> None:
    """A lock that its owner never releases expires after the announced time."""
    cluster = FakeCluster()
    lock = lock_of(cluster)
    assert lock.take(sweep("first"), 1.5) is None
    cluster.now = 1.4
    assert lock.take(sweep("second"), 60) == sweep("first")
    cluster.now = 1.5
    assert lock.take(sweep("second"), 60) is None


def test_another_owners_lock_is_left() -> None:
    """An owner whose lock has expired does not release the next owner's; a missing lock is no error."""
    cluster = FakeCluster()
    lock = lock_of(cluster)
    lock.release(sweep("first"))
    lock.take(sweep("second"), 60)
    lock.release(sweep("first"))
    assert lock.take(sweep("third"), 60) == sweep("second")


def test_each_step_has_a_patience() -> None:
    """Redis may take two seconds for each step of taking the lock, and half a second for each step of releasing it."""
    cluster, given = FakeCluster(), list[float]()

    def connect_within(seconds: float) -> Connect:
        given.append(seconds)
        return cluster.connect

    lock = SweepLock(EndpointKeys(settings_for(cluster.url), connect_within), quiet_log())
    lock.take(sweep("first"), 60)
    lock.take(sweep("second"), 60)
    assert set(given) == {2.0}
    given.clear()
    lock.release(sweep("first"))
    assert set(given) == {0.5}


@pytest.mark.parametrize("word", [b"SET", b"GET"])
def test_a_moving_slot_is_asked_on_its_target(word: bytes) -> None:
    """The lock follows ASK with ASKING, so two endpoints see the same lock while its slot moves."""
    cluster = FakeCluster()
    lock = lock_of(cluster)
    if word == b"GET":
        lock.take(sweep("first"), 60)
    cluster.migrate(SLOT, "c", *([LOCK] if word == b"GET" else []))
    assert lock.take(sweep("second"), 60) == (sweep("first") if word == b"GET" else None)
    assert cluster["c"].holds(LOCK)
    assert {name for name, _ in cluster.got(b"ASKING")} == {"c"}


def test_a_slot_that_has_moved_is_asked_of_its_new_owner() -> None:
    """The lock follows MOVED without ASKING: the topology that was just read is out of date."""
    cluster = FakeCluster()
    cluster.on(b"SET", lambda: cluster.move(SLOT, to="c"))
    assert lock_of(cluster).take(sweep("first"), 60) is None
    assert cluster["c"].holds(LOCK)
    assert cluster.got(b"ASKING") == []


def test_nodes_that_send_each_other_the_question_are_left() -> None:
    """After five nodes that each name another one, Redis counts as unreachable."""
    cluster = FakeCluster()
    cluster.on(b"SET", f"MOVED {SLOT} c:6379", node=owner_of(cluster), times=ALWAYS)
    cluster.on(b"SET", f"MOVED {SLOT} {owner_of(cluster)}:6379", node="c", times=ALWAYS)
    with pytest.raises(UnreachableError, match=r"does not accept SET on the sweep lock: MOVED"):
        lock_of(cluster).take(sweep("first"), 60)
    assert len(cluster.got(b"SET")) == 5


def test_a_lock_that_comes_and_goes_is_not_taken() -> None:
    """A lock that is taken at each SET and missing at each GET is an error after five tries."""
    cluster = FakeCluster()
    lock = lock_of(cluster)
    lock.take(sweep("other"), 60)

    def go() -> None:
        cluster.owner[SLOT].take(LOCK)

    def come() -> None:
        cluster.owner[SLOT].put(LOCK, b"other")

    cluster.on(b"GET", go, times=ALWAYS)
    cluster.on(b"SET", come, times=ALWAYS)
    with pytest.raises(UnreachableError, match="kept changing hands"):
        lock.take(sweep("first"), 60)
    assert len(cluster.got(b"GET")) == 5


@pytest.mark.parametrize("word", [b"SET", b"GET"])
def test_a_denial_names_what_the_lock_needs(word: bytes) -> None:
    """The error for a user without SET or GET names the permissions that the lock needs."""
    cluster = FakeCluster()
    lock = lock_of(cluster)
    lock.take(sweep("other"), 60)
    cluster.deny(word)
    with pytest.raises(DeniedError, match=r"NOPERM .*the sweep lock needs SET and GET.*docs/redis\.md"):
        lock.take(sweep("first"), 60)


@pytest.mark.parametrize("error", ["CLUSTERDOWN The cluster is down", "READONLY You can't write", "TRYAGAIN later"])
def test_an_error_that_passes_counts_as_unreachable(error: str) -> None:
    """A temporary error is not retried: the caller may ask again."""
    cluster = FakeCluster()
    cluster.on(b"SET", error)
    with pytest.raises(UnreachableError, match=error):
        lock_of(cluster).take(sweep("first"), 60)


def test_a_lock_without_a_place() -> None:
    """If no primary owns the lock's slot, or its primary is unreachable, the lock cannot be taken."""
    cluster = FakeCluster()
    owner = cluster.owner.pop(SLOT)
    with pytest.raises(UnreachableError, match=f"no primary owns slot {SLOT}"):
        lock_of(cluster).take(sweep("first"), 60)
    cluster.owner[SLOT] = owner
    cluster.on(b"SET", exceptions.ConnectionError("reset"))
    with pytest.raises(UnreachableError, match="lost the connection"):
        lock_of(cluster).take(sweep("first"), 60)
    cluster.fail(owner.name)
    with pytest.raises(UnreachableError, match="Connection refused"):
        lock_of(cluster).take(sweep("first"), 60)


def test_every_link_is_closed() -> None:
    """Every connection is closed after each step, however the step ended."""
    cluster = FakeCluster()
    lock = lock_of(cluster)
    lock.take(sweep("first"), 60)
    cluster.on(b"SET", exceptions.ConnectionError("reset"))
    with pytest.raises(UnreachableError):
        lock.take(sweep("second"), 60)
    assert len(cluster.links) > 3
    assert all(link.closed for link in cluster.links)


def test_a_lost_lock_is_taken_again() -> None:
    """A renewal takes a lock that nobody holds, as after a failover, and leaves the lock of another sweep."""
    cluster = FakeCluster()
    lock = lock_of(cluster)
    lock.renew(sweep("first"), 60)
    assert lock.take(sweep("second"), 60) == sweep("first")
    lock.renew(sweep("second"), 60)
    assert lock.take(sweep("third"), 60) == sweep("first")


def test_a_redis_that_becomes_full() -> None:
    """A Redis that is full refuses to renew and to release the lock, with an error that the endpoint expects."""
    cluster = FakeCluster()
    lock = lock_of(cluster)
    lock.take(sweep("first"), 60)
    cluster.on(b"SET", "OOM command not allowed when used memory > 'maxmemory'.", times=2)
    with pytest.raises(UnreachableError, match="OOM"):
        lock.renew(sweep("first"), 60)
    with pytest.raises(UnreachableError, match="OOM"):
        lock.release(sweep("first"))
