"""The commands that the preflight tries on each primary, and its errors and warnings."""

import itertools
from functools import partial

import pytest
from redis import exceptions

from k6_sweep.cluster.slots import key_slot
from k6_sweep.errors import DeniedError, RefusedError, UnreachableError
from k6_sweep.sweep.preflight import Readiness, preflight
from tests.support import settings_for
from tests.unit.cluster.fake_redis import ALWAYS, FakeCluster, key

SLOTS = (10, 6000, 12000)
KEYS = {key(slot) for slot in SLOTS}


def filled() -> FakeCluster:
    cluster = FakeCluster()
    cluster.fill(*KEYS)
    return cluster


def run(cluster: FakeCluster, *options: str, patterns: tuple[str, ...] = ("test:*",)) -> Readiness:
    return preflight(settings_for(cluster.url, *options, patterns=patterns), cluster.connect)


def test_every_primary_is_tried_and_nothing_is_deleted() -> None:
    """The preflight sends each primary its commands, for keys that do not exist; without a problem it does not warn."""
    cluster = filled()
    assert run(cluster) == Readiness(("a:6379", "b:6379", "c:6379"), ())
    assert {name for name, _ in cluster.got(b"UNLINK")} == {"a", "b", "c"}
    assert cluster.keys == KEYS
    assert all(link.closed for link in cluster.links)


def test_keys_of_each_pattern_are_tried() -> None:
    """An ACL may allow one pattern's keys and not another's, so one key of each is tried, on a node that owns it."""
    cluster = filled()
    run(cluster, patterns=("test:*", "queue:*"))
    tried = {(name, command[1].partition(b":")[0]) for name, command in cluster.got(b"UNLINK")}
    assert tried == set(itertools.product("abc", [b"test", b"queue"]))
    assert all(cluster.owner[key_slot(command[1])].name == name for name, command in cluster.got(b"UNLINK"))


def test_keys_are_tried_where_they_can_be() -> None:
    """The pattern counted with a hash tag are in one slot: only the primary that owns it is asked to take them."""
    cluster = filled()
    assert run(cluster, patterns=("test:{tag}:*",)).warnings == ()
    assert {name for name, _ in cluster.got(b"UNLINK")} == {cluster.owner[key_slot(b"tag")].name}


def test_a_dry_run_tries_what_it_sends() -> None:
    """A dry run needs no right to delete: EXISTS is tried, and no UNLINK is sent."""
    cluster = filled()
    cluster.deny(b"UNLINK")
    assert run(cluster, "--dry-run").warnings == ()
    assert cluster.got(b"UNLINK") == []
    assert {name for name, _ in cluster.got(b"EXISTS")} == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("options", "command"), [((), "UNLINK"), (("--dry-run",), "EXISTS"), (("--max-keys", "9"), "EXISTS")]
)
def test_a_command_that_is_denied_is_named(options: tuple[str, ...], command: str) -> None:
    """A missing permission on one primary is final; the message names the primary and the command."""
    cluster = filled()
    cluster.on(command.encode(), "NOPERM no permissions", node="b")
    with pytest.raises(DeniedError, match=rf"b:6379 denies a command: NOPERM .*\({command} of .*docs/redis\.md"):
        run(cluster, *options)
    assert all(link.closed for link in cluster.links)


@pytest.mark.parametrize(
    ("patterns", "what"),
    [(("test:*", "queue:*"), r"keys like 'queue:\*'"), (("queue:?",), "the sweep's probes")],
    ids=["pattern", "probe"],
)
def test_keys_that_are_denied_are_named(patterns: tuple[str, ...], what: str) -> None:
    """If the ACL denies some keys, the message names these keys."""
    cluster = filled()

    def deny() -> str | None:
        _, command = cluster.sent[-1]
        return "NOPERM no access" if command[1].startswith(b"queue:") else None

    cluster.on(b"UNLINK", deny, times=ALWAYS)
    with pytest.raises(DeniedError, match=f"UNLINK of {what}"):
        run(cluster, patterns=patterns)


def test_scan_may_stand_in_for_the_listing() -> None:
    """If the listing of slots is denied, one warning for all primaries announces a slower sweep."""
    cluster = filled()
    cluster.deny(b"COUNTKEYSINSLOT")
    (warning,) = run(cluster).warnings
    assert "k6-sweep uses SCAN, which is slower" in warning
    cluster.deny(b"SCAN")
    with pytest.raises(DeniedError, match="denies CLUSTER GETKEYSINSLOT and SCAN"):
        run(cluster)


def test_slots_without_a_primary_are_an_error() -> None:
    """Slots without an owner are an error with their number: a sweep would not be complete."""
    cluster = filled()
    for slot in (1, 2, 3):
        del cluster.owner[slot]
    with pytest.raises(UnreachableError, match="3 of the cluster's slots have no primary; 16381 have one"):
        run(cluster)


@pytest.mark.parametrize("options", [(), ("--dry-run",)], ids=["sweep", "dry run"])
def test_a_cluster_that_is_down_is_an_error(options: tuple[str, ...]) -> None:
    """A cluster that serves no keys is an error, also if the other primaries answer."""
    cluster = filled()
    for word in (b"UNLINK", b"EXISTS"):
        cluster.on(word, "CLUSTERDOWN The cluster is down", node="b", times=ALWAYS)
    with pytest.raises(UnreachableError, match=r"b:6379 does not accept .* now: CLUSTERDOWN The cluster is down"):
        run(cluster, *options)


def test_all_primaries_are_asked_even_if_some_fail() -> None:
    """The error names every primary that does not answer, also one without slots, and a denial outweighs it."""
    cluster = filled()
    cluster.join("d")
    for name in "bd":
        cluster.on(b"UNLINK", partial(cluster.fail, name), node="a")
    with pytest.raises(UnreachableError, match=r"cannot reach b:6379.*cannot reach d:6379"):
        run(cluster)
    cluster["d"].up = True
    cluster.on(b"UNLINK", "NOPERM no permissions", node="c")
    with pytest.raises(DeniedError, match=r"cannot reach b:6379.*c:6379 denies a command"):
        run(cluster)


@pytest.mark.parametrize(
    "error", ["MISCONF unable to persist to disk", "NOREPLICAS Not enough good replicas to write."]
)
def test_a_state_that_would_hold_the_sweep_up_is_a_warning(error: str) -> None:
    """A state that may be temporary is one warning for each primary, in the server's words."""
    cluster = filled()
    cluster.on(b"UNLINK", error, node="c", times=ALWAYS)
    assert run(cluster).warnings == (f"c:6379 does not accept UNLINK now: {error}",)


@pytest.mark.parametrize(
    "failure", [exceptions.ConnectionError("reset"), "LOADING Redis is loading the dataset in memory"]
)
def test_a_primary_that_breaks_away_is_an_error(failure: str | Exception) -> None:
    """A lost connection to a primary is an error, because that primary cannot be swept."""
    cluster = filled()
    cluster.on(b"UNLINK", failure, node="b")
    with pytest.raises(UnreachableError, match="lost the connection to b:6379"):
        run(cluster)
    cluster.fail("c")
    with pytest.raises(UnreachableError, match="cannot reach c:6379"):
        run(cluster)


def test_a_broad_pattern_is_refused_before_anything_is_asked() -> None:
    """A broad pattern is refused without a connection, because the settings alone decide."""
    cluster = filled()
    with pytest.raises(RefusedError, match="--allow-broad-patterns"):
        run(cluster, patterns=("t*",))
    assert cluster.connected == []


def test_the_marker_is_looked_for_where_it_belongs() -> None:
    """Without its marker a Redis is refused before anything is tried; with it the primaries are tried as usual."""
    cluster = filled()
    with pytest.raises(RefusedError, match="load-test-allowed"):
        run(cluster, "--require-marker", "load-test-allowed")
    assert cluster.got(b"UNLINK") == []
    cluster.fill(b"load-test-allowed")
    assert run(cluster, "--require-marker", "load-test-allowed").warnings == ()


@pytest.mark.parametrize(
    ("version", "warned"), [(b"7.0.15", False), (b"8.4.0", False), (b"8.6.1", True), (b"8.10.0", True)]
)
def test_a_redis_that_hides_keys_should_allow_dbsize(version: bytes, warned: bool) -> None:
    """Where only DBSIZE shows keys of slots that a primary does not own, its denial is a warning."""
    cluster = filled()
    for node in cluster.nodes.values():
        node.version = version
    cluster.deny(b"DBSIZE")
    warnings = run(cluster).warnings
    assert [text.partition(",")[0] for text in warnings] == [f"{name}:6379 denies DBSIZE" for name in "abc" if warned]
