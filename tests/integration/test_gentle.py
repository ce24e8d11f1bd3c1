"""The sweep spares other clients: no large request, and no more deletes than the rate allows."""

import itertools
import re
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from k6_sweep.cluster.connector import Connector
from k6_sweep.cluster.link import Link
from k6_sweep.cluster.slots import TAGS
from k6_sweep.demo.keys import write_keys
from k6_sweep.demo.servers import LocalCluster
from k6_sweep.settings.values import Address
from k6_sweep.sweep.result import Progress
from tests.support import Pipeline, keys_of, move_slot, settings_for, step_between, sweep_now, sweep_until


class Recording:
    """Connects like the real function, and records the size of commands and replies."""

    def __init__(self, real: Connector) -> None:
        self._real = real
        self.largest: dict[bytes, int] = {}
        """For each command, the most keys in one request or one reply."""
        self.most_keys_in_a_write = 0
        self.most_keys_listed_in_a_write = 0

    def __call__(self, address: Address) -> Link:
        return step_between(self._real(address), self._around)

    def _around(self, pipeline: Pipeline, commands: Sequence[bytes]) -> list[Any]:
        replies = pipeline(commands)
        deleted = listed = 0
        for command, reply in zip(commands, replies, strict=True):
            words = command.split(b"\r\n", 5)
            count, name = int(words[0][1:]) - 1, words[2]
            if name == b"CLUSTER":
                name = words[4]
            if name == b"SCAN":
                count = len(reply[1])
            elif isinstance(reply, list):
                count = len(reply)
            deleted += count if name == b"UNLINK" else 0
            listed += count if name == b"GETKEYSINSLOT" and isinstance(reply, list) else 0
            self.largest[name] = max(self.largest.get(name, 0), count)
        self.most_keys_in_a_write = max(self.most_keys_in_a_write, deleted)
        self.most_keys_listed_in_a_write = max(self.most_keys_listed_in_a_write, listed)
        return replies


class Counting:
    """Connects like the real function, and counts the links in use at the same time."""

    def __init__(self, real: Connector) -> None:
        self._real = real
        self._lock = threading.Lock()
        self._now = 0
        self.most = 0

    def __call__(self, address: Address) -> Link:
        return step_between(self._real(address), self._around)

    def _around(self, pipeline: Pipeline, commands: Sequence[bytes]) -> list[Any]:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        time.sleep(0.001)  # so that other threads run
        try:
            return pipeline(commands)
        finally:
            with self._lock:
                self._now -= 1


@pytest.mark.every_server
def test_a_fat_slot_is_never_asked_for_at_once(cluster: LocalCluster) -> None:
    """A slot with tens of thousands of keys, with keepers among them, is swept in parts of a few thousand."""
    keepers = [b"user:{tag}%d" % i for i in range(20_000)]
    mine = [b"test:{tag}%d" % i for i in range(30_000)]
    write_keys(cluster, itertools.chain(keepers[:10_000], mine, keepers[10_000:]))
    settings = settings_for(cluster.url)
    recording = Recording(Connector(settings))
    report = sweep_now(settings, recording)
    assert (report.status, report.deleted, report.exact) == ("complete", 30_000, True)
    assert keys_of(cluster.primaries) == set(keepers)
    assert recording.largest[b"GETKEYSINSLOT"] <= 5000
    assert recording.largest[b"SCAN"] <= 2000  # COUNT is at most 1000, and the last bucket may have more keys
    assert recording.most_keys_in_a_write <= 1000 + 64  # with one probe for each listed slot


def test_a_fat_slot_of_the_test_alone_needs_no_scan(cluster: LocalCluster) -> None:
    """If nearly all keys of a fat slot go, the deletes make room for the next list, without SCAN."""
    write_keys(cluster, (b"test:{tag}%d" % i for i in range(30_000)))
    settings = settings_for(cluster.url, patterns=["test:{tag}*"])
    recording = Recording(Connector(settings))
    report = sweep_now(settings, recording)
    assert (report.status, report.deleted, report.slots_asked) == ("complete", 30_000, 1)
    assert b"SCAN" not in recording.largest
    assert recording.most_keys_in_a_write <= 1000 + 64  # with one probe for each listed slot


@pytest.mark.every_server
def test_a_fat_slot_that_moves_is_swept_in_pieces(small_cluster: LocalCluster) -> None:
    """A fat slot that stays half-moved is swept on both nodes without a large reply."""
    first, second, _ = small_cluster.primaries
    keepers = [b"user:{%b}%d" % (TAGS[7], i) for i in range(12_000)]
    mine = [b"test:{%b}%d" % (TAGS[7], i) for i in range(12_000)]
    write_keys(small_cluster, itertools.chain.from_iterable(zip(keepers, mine, strict=True)))
    move_slot(7, first, second, keys=11_000)
    settings = settings_for(small_cluster.url)
    recording = Recording(Connector(settings))
    report = sweep_now(settings, recording)
    assert (report.status, report.deleted) == ("complete", 12_000)
    assert keys_of(small_cluster.primaries) == set(keepers)
    assert recording.largest[b"GETKEYSINSLOT"] <= 5000
    assert recording.largest[b"UNLINK"] <= 1001


def test_a_fat_slot_is_counted_with_its_keepers_in_a_dry_run(cluster: LocalCluster) -> None:
    """A dry run counts the matching keys of a fat slot without a large request."""
    write_keys(cluster, (b"%b:{tag}%d" % (b"test" if i % 3 else b"user", i) for i in range(21_000)))
    settings = settings_for(cluster.url, "--dry-run")
    recording = Recording(Connector(settings))
    report = sweep_now(settings, recording)
    assert (report.status, report.matched, report.exact) == ("dry-run", 14_000, False)
    assert recording.largest[b"GETKEYSINSLOT"] <= 5000
    assert b"UNLINK" not in recording.largest


def test_writes_are_not_larger_after_a_count(cluster: LocalCluster) -> None:
    """After the count for --max-keys, a write lists no more keys at once than without the count."""
    write_keys(cluster, (b"test:{%b}%d" % (TAGS[slot], i) for slot in range(200) for i in range(150)))
    settings = settings_for(cluster.url, "--max-keys", "30000")
    recording = Recording(Connector(settings))
    assert sweep_now(settings, recording).deleted == 30_000
    assert recording.most_keys_listed_in_a_write <= 1000


def test_the_rate_is_never_exceeded(cluster: LocalCluster) -> None:
    """At each moment the number of deletes stays within the rate, with a tolerance of some small writes."""
    write_keys(cluster, (b"test:%d" % i for i in range(12_000)))
    rate = 4000
    began = time.monotonic()
    told: list[tuple[float, int]] = []

    def note(progress: Progress) -> None:
        told.append((time.monotonic() - began, progress.deleted))

    report = sweep_now(settings_for(cluster.url, "--max-rate", str(rate)), on_progress=note)
    assert report.deleted == 12_000
    assert report.seconds >= (12_000 - 3 * rate / 20) / rate
    assert [(seconds, deleted) for seconds, deleted in told if deleted > seconds * rate * 1.05 + 3 * rate / 20] == []


def test_consumers_that_go_on_for_ten_seconds_leave_nothing(cluster: LocalCluster) -> None:
    """Keys that consumers write for ten seconds after the test are all gone at the end."""
    written = 0
    end = time.monotonic() + 10

    def consume() -> None:
        nonlocal written
        while time.monotonic() < end:
            write_keys(cluster, (b"test:late%d:%d" % (written, i) for i in range(20)))
            written += 20
            time.sleep(0.1)

    consumer = threading.Thread(target=consume)
    consumer.start()
    report = sweep_now(settings_for(cluster.url, "--settle", "2"))
    consumer.join()
    assert (report.status, report.remaining) == ("complete", 0)
    assert report.deleted == written > 500
    assert keys_of(cluster.primaries) == set()


def test_a_consumer_that_never_stops_is_named_with_its_rate(cluster: LocalCluster) -> None:
    """Against an endless writer the sweep stops at its deadline, and reports the rate of new keys."""
    stop = threading.Event()

    def consume() -> None:
        for number in itertools.count():
            if stop.is_set():
                return
            write_keys(cluster, (b"test:late%d:%d" % (number, i) for i in range(50)))
            time.sleep(0.05)

    consumer = threading.Thread(target=consume)
    consumer.start()
    try:
        report = sweep_until(settings_for(cluster.url, "--settle", "1"), lambda progress: progress.pass_number > 3)
    finally:
        stop.set()
        consumer.join()
    assert report.status == "incomplete"
    (said,) = (error for error in report.errors if "still writes matching keys" in error)
    found = re.search(r"about (\d+) a second", said)
    assert found
    assert 50 < int(found[1]) < 2000  # it writes hundreds


@pytest.mark.parametrize("most", [1, 2])
def test_no_more_shards_at_once_than_allowed(most: int, cluster: LocalCluster) -> None:
    """The sweep works on --max-shards primaries at once, and sweeps all of them."""
    write_keys(cluster, (b"test:%d" % i for i in range(3000)))
    settings = settings_for(cluster.url, "--max-shards", str(most))
    counting = Counting(Connector(settings))
    assert sweep_now(settings, counting).deleted == 3000
    assert counting.most == most
