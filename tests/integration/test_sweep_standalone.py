"""The sweep on a single Redis: SCAN, database numbers, a Unix socket."""

from pathlib import Path

import pytest

from k6_sweep.cluster.link import pack
from k6_sweep.demo.keys import all_keys
from k6_sweep.demo.servers import Node, start_server, stop
from tests.integration.test_sweep_cluster import binary_keys, matching
from tests.support import KINDS, settings_for, sweep_now


def fill(node: Node, keys: set[bytes], database: int = 0) -> None:
    link = node.link()
    link.ask("SELECT", database)
    link.pipeline([pack((b"SET", key, b"x")) for key in keys])
    link.close()


@pytest.mark.every_server
def test_exactly_the_matching_keys_go(standalone: Node) -> None:
    """On a single server exactly the matching keys go, and the report counts no slots."""
    keys = binary_keys(20_000, seed=7)
    fill(standalone, keys)
    report = sweep_now(settings_for(f"redis://127.0.0.1:{standalone.port}", patterns=[f"{kind}:*" for kind in KINDS]))
    assert set(all_keys(standalone)) == keys - matching(keys)
    assert (report.status, report.deleted, report.remaining) == ("complete", len(matching(keys)), 0)
    assert report.slots_done is None
    assert list(report.shards) == [f"127.0.0.1:{standalone.port}"]


@pytest.mark.every_server
def test_only_the_given_database_is_swept(standalone: Node) -> None:
    """Only the URL's database is swept."""
    fill(standalone, {b"test:1"}, database=0)
    fill(standalone, {b"test:2", b"user:2"}, database=3)
    assert sweep_now(settings_for(f"redis://127.0.0.1:{standalone.port}/3")).deleted == 1
    assert set(all_keys(standalone)) == {b"test:1"}


def test_keep_dry_run_and_max_keys(standalone: Node) -> None:
    """The guards also work with SCAN."""
    fill(standalone, {f"test:{i}".encode() for i in range(3000)} | {b"test:keep:1"})
    url = f"redis://127.0.0.1:{standalone.port}"
    dry = sweep_now(settings_for(url, "--dry-run", "--keep", "test:keep:*"))
    assert (dry.deleted, dry.matched, dry.preserved) == (0, 3000, 1)
    assert sweep_now(settings_for(url, "--max-keys", "3000", "--keep", "test:keep:*")).deleted == 3000
    assert set(all_keys(standalone)) == {b"test:keep:1"}


@pytest.mark.every_server
def test_over_a_unix_socket(server_binary: str, tmp_path: Path) -> None:
    """The sweep works over a Unix socket."""
    socket = tmp_path / "redis.sock"
    node = start_server(server_binary, tmp_path, {"unixsocket": str(socket)})
    try:
        fill(node, {b"test:1", b"user:1"})
        report = sweep_now(settings_for(f"unix://{socket}"))
        assert (report.status, report.deleted) == ("complete", 1)
        assert set(all_keys(node)) == {b"user:1"}
    finally:
        stop([node])
