"""The endpoint in front of a whole cluster."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from k6_sweep.cluster.slots import TAGS, key_slot
from k6_sweep.demo.keys import write_keys
from k6_sweep.demo.servers import LocalCluster
from tests.acceptance.command import k6_sweep
from tests.endpoint.served import Served, served
from tests.support import keys_of, move_slot, until


@pytest.fixture
def endpoint(cluster: LocalCluster) -> Iterator[Served]:
    with served(cluster.url) as running:
        yield running


@pytest.mark.every_server
def test_a_whole_cluster(endpoint: Served, cluster: LocalCluster) -> None:
    """The endpoint sweeps every shard and leaves no key of its own, not even the lock."""
    write_keys(cluster, [f"{kind}:{number}".encode() for kind in ("test", "user") for number in range(3000)])
    answer = endpoint.post()
    assert (answer.code, answer.body["deleted_count"]) == (200, 3000)
    assert (answer.body["report"]["slots"], answer.body["report"]["shards"]) == ("16384/16384", 3)
    assert keys_of(cluster.primaries) == {f"user:{number}".encode() for number in range(3000)}


def test_progress_counts_slots(cluster: LocalCluster) -> None:
    """The progress is the number of finished slots and of all slots."""
    write_keys(cluster, [b"test:%d" % number for number in range(300)])
    with served(cluster.url, "--max-rate", "60") as endpoint:
        place = endpoint.post(headers={"Prefer": "respond-async"}).headers["location"]
        until(lambda: endpoint.ask("GET", place).body["deleted_count"] > 0)
        done, asked = endpoint.ask("GET", place).body["report"]["slots"].split("/")
        assert 0 < int(done) < int(asked) == 16384
        endpoint.ask("DELETE", place)


def test_other_sweeps_leave_the_lock(endpoint: Served, cluster: LocalCluster) -> None:
    """No sidecar, Job or request ever sweeps or counts the lock, even if their patterns match it."""
    slot = key_slot(b"test:{k6-sweep}lock")
    owner = next(node for node in cluster.primaries if _owns(node.ask("CLUSTER", "SLOTS"), node.port, slot))
    owner.ask("SET", "test:{k6-sweep}lock", "someone")
    write_keys(cluster, [b"test:1", b"test:k1"])
    assert endpoint.post().body["id"] == "someone"
    ended = k6_sweep("run", "--redis-url", cluster.url, "--pattern", "user:*", "--pattern", "test:*")
    assert (ended.report["deleted"], ended.report["matched"], ended.report["preserved"]) == (2, 2, 0)
    ended = k6_sweep("run", "--redis-url", cluster.url, "--pattern", "test:{k*")
    assert ended.report["matched"] == 0
    assert owner.ask("GET", "test:{k6-sweep}lock") == b"someone"
    owner.ask("DEL", "test:{k6-sweep}lock")
    write_keys(cluster, [b"test:k1"])
    assert endpoint.post({"patterns": ["test:k*"]}).body["report"]["matched"] == 1


@pytest.mark.every_server
def test_least_privilege(cluster: LocalCluster) -> None:
    """The user of docs/redis.md with the rights for `serve` is enough, and other keys stay out of reach."""
    page = (Path(__file__).parents[2] / "docs" / "redis.md").read_text()
    rule = re.findall(r"ACL SETUSER sweeper (.*)", page)[0].replace(">SECRET", ">word").split()
    assert "| `+set +get` | `k6-sweep serve`" in page
    for node in cluster.nodes:
        node.ask("ACL", "SETUSER", "sweeper", "reset", *rule, "+set", "+get")
    write_keys(cluster, [f"{kind}:{number}".encode() for kind in ("test", "user") for number in range(300)])
    with served(cluster.url, "--redis-username", "sweeper", env={"SWEEP_REDIS_PASSWORD": "word"}) as endpoint:
        answer = endpoint.post()
        assert (answer.code, answer.body["deleted_count"]) == (200, 300)
        until(lambda: endpoint.ask("GET", "/readyz", token=None).code == 200)
    assert len(keys_of(cluster.primaries)) == 300


def test_probes_ask_little_of_redis(endpoint: Served, cluster: LocalCluster) -> None:
    """/readyz never reads the topology, and sends only a few requests to Redis."""

    def calls(command: str) -> int:
        stats = [line for node in cluster.nodes for line in str(node.ask("INFO", "commandstats")).split("\\r\\n")]
        return sum(int(line.split("calls=")[1].split(",")[0]) for line in stats if f"cmdstat_{command}" in line)

    def ready() -> bool:
        return endpoint.ask("GET", "/readyz", token=None).code == 200

    until(lambda: ready() and bool(endpoint.events("preflight passed")))
    before, hellos = calls("cluster"), calls("hello")
    assert all(ready() for _ in range(50))
    assert calls("cluster") == before
    assert calls("hello") - hellos < 50
    until(lambda: ready() and calls("hello") > hellos)


@pytest.mark.every_server
@pytest.mark.parametrize("keys", [0, -1], ids=["on its way", "moved"])
def test_the_lock_finds_its_slot(small_cluster: LocalCluster, keys: int) -> None:
    """While the lock's slot moves or has moved, there is still only one sweep at a time."""
    slot = key_slot(b"test:{k6-sweep}lock")
    source = next(node for node in small_cluster.primaries if _owns(node.ask("CLUSTER", "SLOTS"), node.port, slot))
    target, *others = (node for node in small_cluster.primaries if node is not source)
    assert key_slot(TAGS[slot]) == slot
    with served(small_cluster.url, "--settle", "2") as first, served(small_cluster.url) as second:
        move_slot(slot, source, target, tuple(others), keys=keys)
        begun = first.post(headers={"Prefer": "respond-async"})
        assert (begun.code, second.post().code) == (202, 409)
        until(lambda: first.ask("GET", begun.headers["location"]).body["report"]["status"] != "sweeping")
        assert second.post({"dry_run": True}).code in {200, 504}  # a dry run cannot prove a moving slot
        assert keys_of(small_cluster.primaries) == set()


def _owns(slots: list[tuple[int, int, list[object]]], port: int, slot: int) -> bool:
    return any(first <= slot <= last and owner[1] == port for first, last, owner, *_ in slots)


def _lines_of(endpoint: Served) -> dict[str, dict[str, Any]]:
    answer = endpoint.ask("GET", "/sweeps")
    assert (answer.code, answer.body["problem"]) == (200, None)
    return {line["id"]: line for line in answer.body["sweeps"]}


@pytest.mark.every_server
def test_a_killed_replicas_sweep_counts_as_killed(cluster: LocalCluster) -> None:
    """Another replica shows a sweep as running while it runs; after SIGKILL, as incomplete with its last counts."""
    write_keys(cluster, [b"test:%d" % number for number in range(3000)])
    with served(cluster.url, "--max-rate", "40") as first, served(cluster.url) as second:
        begun = first.post(headers={"Prefer": "respond-async"})
        place, sweep = begun.headers["location"], begun.body["id"]
        assert second.ask("GET", place).body["report"]["status"] == "sweeping"
        busy = second.post()
        assert (busy.code, busy.headers["retry-after"]) == (409, "5")
        assert {name: busy.body[name] for name in ("id", "who", "since")} == {
            name: begun.body[name] for name in ("id", "who", "since")
        }
        assert f"sweep {sweep} of {busy.body['who']} (since {busy.body['since']}) is running" in busy.body["error"]
        assert second.ask("DELETE", place).code == 409
        until(lambda: second.ask("GET", place).body["deleted_count"] > 0)  # its notes have the progress
        assert _lines_of(second)[sweep]["state"] == "sweeping"
        first.process.kill()
        until(lambda: second.ask("GET", place).body["report"]["status"] != "sweeping")
        dead = second.ask("GET", place).body
        assert (dead["report"]["status"], dead["report"]["exact"]) == ("incomplete", False)
        assert 0 < dead["deleted_count"] <= 3000 - len(keys_of(cluster.primaries))
        assert "stopped renewing the sweep lock before it recorded a result" in dead["error"]
        assert _lines_of(second)[sweep]["state"] == "incomplete"
        assert second.ask("DELETE", place).body == dead
        assert second.post().code == 200
        assert [line["state"] for line in _lines_of(second).values()] == ["complete", "incomplete"]


def test_an_alert_survives_a_restart(cluster: LocalCluster) -> None:
    """After a restart or a kill, an endpoint shows how the newest sweep of its namespace ended, until the next one."""
    write_keys(cluster, [b"test:%d" % number for number in range(3000)])
    incomplete = 'k6_sweep_last_status{status="incomplete"}'
    options = ("--max-rate", "40")
    here, elsewhere = {"POD_NAMESPACE": "load", "POD_NAME": "one"}, {"POD_NAMESPACE": "other", "POD_NAME": "two"}
    with served(cluster.url, *options, env=here) as first:
        place = first.post(headers={"Prefer": "respond-async"}).headers["location"]
        until(lambda: first.ask("GET", place).body["deleted_count"] > 0)
        first.ask("DELETE", place)
        until(lambda: first.metric(incomplete) == 1)
        ended = first.metric("k6_sweep_last_end_timestamp_seconds")
    with served(cluster.url, env={**here, "POD_NAME": "three"}) as again:
        until(lambda: again.metric(incomplete) == 1)
        assert again.metric("k6_sweep_last_end_timestamp_seconds") == pytest.approx(ended, abs=30)
        assert again.metric('k6_sweep_sweeps_total{status="incomplete"}') == 0
        with served(cluster.url, env=elsewhere) as other:
            until(lambda: bool(other.events("preflight passed")))
            assert other.post().code == 200
            assert again.metric(incomplete) == 1
    write_keys(cluster, [b"test:%d" % number for number in range(3000)])
    with served(cluster.url, *options, env=here) as killed:
        until(lambda: killed.metric(incomplete) == 1)
        assert killed.post({"dry_run": True}).code == 200
        place = killed.post(headers={"Prefer": "respond-async"}).headers["location"]
        until(lambda: killed.ask("GET", place).body["deleted_count"] > 0)
        killed.process.kill()
    with served(cluster.url, env=here) as last:
        until(
            lambda: last.metric("k6_sweep_last_end_timestamp_seconds") > ended + 0.01 and last.metric(incomplete) == 1
        )
        assert last.metric("k6_sweep_last_success_timestamp_seconds") == 0
        assert last.post().code == 200
        assert last.metric(incomplete) == 0


def test_an_end_survives_its_replica(cluster: LocalCluster) -> None:
    """The list is of all replicas, and a sweep's end stays readable when its replica has ended; no key is named."""
    write_keys(cluster, [b"test:key-%d" % number for number in range(100)])
    with served(cluster.url) as second:
        with served(cluster.url) as first:
            ended = first.post({"patterns": ["test:key-*"]}).body
            dry = second.post({"dry_run": True}).body
            lines = _lines_of(first)
            assert list(lines) == [dry["id"], ended["id"]]
            assert lines == _lines_of(second)
        other = second.ask("GET", lines[ended["id"]]["link"])
        whole, short = ended["report"], other.body["report"]
        assert {**whole, "by_shard": None} == {**short, "by_shard": None}
        assert other.body | {"report": None} == ended | {"report": None}
    with served(cluster.url) as third:
        assert list(_lines_of(third)) == [dry["id"], ended["id"]]
        assert third.ask("GET", f"/sweeps/{'0' * 12}").code == 404
    slot = key_slot(b"test:{k6-sweep}sweeps")
    owner = next(node for node in cluster.primaries if _owns(node.ask("CLUSTER", "SLOTS"), node.port, slot))
    assert 3_000_000 < owner.ask("PTTL", "test:{k6-sweep}sweeps") <= 3_600_000
    assert b"key-7" not in owner.ask("GET", "test:{k6-sweep}sweeps")
