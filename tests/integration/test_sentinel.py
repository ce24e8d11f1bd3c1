"""k6-sweep finds a primary by asking its Sentinels."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from k6_sweep.cluster.connector import Connector
from k6_sweep.cluster.link import pack
from k6_sweep.commands.lookout import register_of
from k6_sweep.coordination import Entry
from k6_sweep.demo.keys import all_keys
from k6_sweep.demo.servers import Node, free_port, start_server, stop
from k6_sweep.errors import DeniedError, UnreachableError
from k6_sweep.sweep.sweeper import take_snapshot
from tests.integration.test_sweep_cluster import Interfering
from tests.support import limited, quiet_log, settings_for, snapshot_settings_for, sweep_now, until

pytestmark = pytest.mark.every_server


@dataclass(frozen=True)
class Watched:
    """A primary, its replica, and the Sentinel that watches both as `main`."""

    primary: Node
    replica: Node
    sentinel: Node

    @property
    def url(self) -> str:
        """The URL with a dead Sentinel first."""
        return f"redis+sentinel://127.0.0.1:1,127.0.0.1:{self.sentinel.port}/main"

    def can_fail_over(self) -> bool:
        """Whether the Sentinel knows that the replica's link is up; it asks every ten seconds."""
        (replica,) = self.sentinel.ask("SENTINEL", "REPLICAS", "main")
        known = dict(zip(replica[::2], replica[1::2], strict=True))
        return bool(known[b"master-link-status"] == b"ok")


@pytest.fixture
def watched(server_binary: str, tmp_path: Path) -> Iterator[Watched]:
    primary = start_server(server_binary, tmp_path, {"repl-diskless-sync-delay": "0"})
    replica = start_server(server_binary, tmp_path)
    replica.ask("REPLICAOF", "127.0.0.1", primary.port)
    port = free_port()
    config = tmp_path / "sentinel.conf"
    config.write_text(
        f"port {port}\nsentinel monitor main 127.0.0.1 {primary.port} 1\n"
        "sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 3000\n"
    )
    sentinel = start_server(server_binary, tmp_path, port=port, config=config)
    try:
        until(lambda: b"master_link_status:up" in replica.ask("INFO", "replication"))
        until(lambda: len(sentinel.ask("SENTINEL", "REPLICAS", "main")) == 1)
        yield Watched(primary, replica, sentinel)
    finally:
        stop([primary, replica, sentinel])


def fill(node: Node, count: int) -> None:
    link = node.link()
    link.pipeline([pack((b"SET", b"test:%d" % i, b"x")) for i in range(count)] + [pack((b"SET", b"user:1", b"x"))])
    assert link.ask("WAIT", 1, 5000) == 1
    link.close()


def is_now(node: Node, role: bytes) -> bool:
    """Whether a server has this role; a Sentinel cuts the connections of a server whose role it changes."""
    try:
        return bool(node.ask("ROLE")[0] == role)
    except UnreachableError:
        return False


def test_the_primary_is_found(watched: Watched) -> None:
    """k6-sweep gets the primary's address from the living Sentinel, and sweeps there."""
    fill(watched.primary, 500)
    report = sweep_now(settings_for(watched.url))
    assert (report.status, report.deleted, report.exact) == ("complete", 500, True)
    assert set(all_keys(watched.primary)) == {b"user:1"}


def test_a_snapshot_outlives_a_failover(watched: Watched, tmp_path: Path) -> None:
    """A snapshot from before a failover is of the same Redis: the promoted replica holds the same data."""
    fill(watched.primary, 100)
    file = tmp_path / "keys"
    settings = snapshot_settings_for(watched.url, file)
    take_snapshot(settings, Connector(settings), limited(lambda: 60.0), quiet_log(), lambda _: None)[0].write(file)
    until(watched.can_fail_over)
    watched.sentinel.ask("SENTINEL", "FAILOVER", "main")
    until(lambda: is_now(watched.replica, b"master"))
    until(lambda: is_now(watched.primary, b"slave"))
    watched.replica.ask("SET", "test:later", "x")
    report = sweep_now(settings_for(watched.url, "--preserve-existing", str(file)))
    assert (report.status, report.deleted, report.preserved) == ("complete", 1, 100)
    assert watched.replica.ask("DBSIZE") == 101


def test_a_failover_is_followed(watched: Watched) -> None:
    """If the Sentinel promotes the replica during the sweep, the sweep goes on at the new primary."""
    fill(watched.primary, 20_000)
    settings = settings_for(watched.url, "--settle", "1")
    until(watched.can_fail_over)

    def fail_over() -> None:
        watched.sentinel.ask("SENTINEL", "FAILOVER", "main")
        until(lambda: is_now(watched.replica, b"master"))
        until(lambda: is_now(watched.primary, b"slave"))

    report = sweep_now(settings, Interfering(Connector(settings), 15, fail_over))
    assert report.status == "complete"
    assert not report.exact
    assert set(report.shards) == {f"127.0.0.1:{watched.primary.port}", f"127.0.0.1:{watched.replica.port}"}
    assert set(all_keys(watched.replica)) == {b"user:1"}


def test_a_database_behind_a_sentinel(watched: Watched) -> None:
    """The URL's database number is for the Redis; a Sentinel has no databases."""
    link = watched.primary.link()
    link.ask("SELECT", 3)
    link.ask("SET", "test:1", "x")
    link.close()
    fill(watched.primary, 5)
    assert sweep_now(settings_for(f"{watched.url}/3")).deleted == 1
    assert watched.primary.ask("DBSIZE") == 6


def test_a_name_that_no_sentinel_knows(watched: Watched) -> None:
    """The error names a primary that the Sentinel does not know."""
    with pytest.raises(UnreachableError, match="has no primary named 'other'"):
        sweep_now(settings_for(watched.url.replace("/main", "/other")), seconds=1)


def test_a_password_that_the_sentinel_does_not_ask_for(watched: Watched) -> None:
    """A login for the Redis also works if the Sentinel has no users."""
    for node in (watched.primary, watched.replica):
        node.ask("ACL", "SETUSER", "sweeper", "reset", "on", ">secret", "~test:*", "+@all")
    fill(watched.primary, 10)
    assert sweep_now(settings_for(watched.url.replace("//", "//sweeper:secret@"))).deleted == 10


def test_a_redis_is_no_sentinel(watched: Watched) -> None:
    """The error names a Redis that is given as a Sentinel, and a Sentinel that is given as a Redis."""
    with pytest.raises(DeniedError, match="does not answer as a Sentinel"):
        sweep_now(settings_for(f"redis+sentinel://127.0.0.1:{watched.primary.port}/main"), seconds=1)
    with pytest.raises(DeniedError, match=r"is a Sentinel; write .*redis\+sentinel://"):
        sweep_now(settings_for(f"redis://127.0.0.1:{watched.sentinel.port}"), seconds=1)


def test_no_sentinel_lives() -> None:
    """Without a living Sentinel Redis counts as unreachable."""
    with pytest.raises(UnreachableError, match=r"cannot reach 127\.0\.0\.1:1"):
        sweep_now(settings_for("redis+sentinel://127.0.0.1:1,127.0.0.1:2/main"), seconds=1)


def test_the_register_of_tests_survives_a_failover(watched: Watched) -> None:
    """A test that was registered with the former primary is seen by one that asks the Sentinels after a failover."""
    settings = settings_for(watched.url)
    mine = Entry("run", "load/k6-1", 0.0, settings.pattern)
    register_of(settings).enter(mine)
    until(watched.can_fail_over)
    until(lambda: watched.replica.ask("ZCARD", "{k6-sweep}runs") == 1)
    watched.sentinel.ask("SENTINEL", "FAILOVER", "main")
    until(lambda: is_now(watched.replica, b"master") and is_now(watched.primary, b"slave"))
    assert register_of(settings).enter(mine) == [mine]
