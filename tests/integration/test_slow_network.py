"""The sweep of a real Redis Cluster over a slow, varying, narrow or breaking network."""

from dataclasses import replace

import pytest

from k6_sweep.demo.keys import write_keys
from k6_sweep.demo.servers import LocalCluster
from k6_sweep.sweep.result import Progress
from tests.slow_network import Way, behind
from tests.support import STOPPED, keys_of, settings_for, sweep_now

WAYS = {
    "jitter": Way(delay=0.001, jitter=0.004),
    "long": Way(delay=0.025),
    "long with jitter": Way(delay=0.025, jitter=0.010),
    "narrow": Way(delay=0.005, bandwidth=2_000_000),
}


def fill(cluster: LocalCluster, count: int) -> set[bytes]:
    """Write keys of a test, and as many others; return the others."""
    foreign = {b"user:%d" % number for number in range(count)}
    write_keys(cluster, [*(b"test:%d" % number for number in range(count)), *foreign])
    return foreign


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_a_sweep_over_a_slow_network_is_complete(small_cluster: LocalCluster, way: Way) -> None:
    """A sweep is complete within the default time limit, whatever the network does to its round trips."""
    foreign = fill(small_cluster, 20_000)
    with behind(small_cluster, way) as far:
        report = sweep_now(settings_for(far.url), seconds=60)
    assert (report.status, report.deleted, report.exact, report.retries) == ("complete", 20_000, True, 0)
    assert keys_of(small_cluster.primaries) == foreign


def test_the_limit_of_keys_holds_with_writes_in_flight(small_cluster: LocalCluster) -> None:
    """If keys appear after the count, --max-keys ends the sweep, and all that was sent until then is counted."""
    foreign = fill(small_cluster, 20_000)
    limit, keys = 20_100, [b"test:late:%d" % number for number in range(2_000)]

    with behind(small_cluster, WAYS["long"]) as far:

        def look(progress: Progress) -> None:
            if keys and progress.deleted:
                write_keys(far, keys)
                keys.clear()

        report = sweep_now(replace(settings_for(far.url), max_keys=limit), on_progress=look)
    left = keys_of(small_cluster.primaries) - foreign
    assert not keys
    assert report.status == "incomplete"
    assert report.deleted == 22_000 - len(left) <= limit


def test_lost_connections_lose_no_key_of_others(small_cluster: LocalCluster) -> None:
    """While connections break again and again, only matching keys go, and the report is right about the rest."""
    foreign = fill(small_cluster, 20_000)
    with behind(small_cluster, Way(delay=0.002, jitter=0.002, lost_after=1.0)) as far:
        report = sweep_now(settings_for(far.url), seconds=15)
    left = keys_of(small_cluster.primaries) - foreign
    assert keys_of(small_cluster.primaries) >= foreign
    assert report.deleted <= 20_000 - len(left)
    if report.status == "complete":
        assert not left
    else:
        assert report.errors
    if report.exact:
        assert report.deleted == 20_000 - len(left)


def test_what_made_the_sweep_slow_is_in_the_report(small_cluster: LocalCluster) -> None:
    """If the time was not enough because of the network, the report says so, with the round trip."""
    fill(small_cluster, 20_000)
    with behind(small_cluster, Way(delay=0.400)) as far:
        report = sweep_now(settings_for(far.url), seconds=8)
    assert report.status == "incomplete"
    assert STOPPED in report.errors
    (cause,) = (error for error in report.errors if "most of the time" in error)
    assert "the network: a round trip takes 8" in cause
