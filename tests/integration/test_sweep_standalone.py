"""The sweep on a single Redis: SCAN, database numbers, a Unix socket."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from redis import exceptions

from k6_sweep.cluster.connector import Connector
from k6_sweep.cluster.link import Link, pack
from k6_sweep.demo.keys import all_keys
from k6_sweep.demo.servers import Node, start_server, stop
from k6_sweep.errors import UnreachableError
from k6_sweep.settings.values import Address
from tests.integration.test_sweep_cluster import binary_keys, matching
from tests.support import KINDS, Pipeline, settings_for, step_between, sweep_now, until


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


@pytest.mark.every_server
def test_a_busy_server_is_waited_out(standalone: Node) -> None:
    """A script that blocks the server delays the sweep, and does not end it; older servers even refuse the SELECT."""
    fill(standalone, {b"test:1"}, database=1)
    settings = settings_for(f"redis://127.0.0.1:{standalone.port}/1")
    refusals: list[str] = []

    def end_the_script(error: Exception) -> None:
        if not refusals:
            standalone.ask("SCRIPT", "KILL")
        refusals.append(str(error))

    def look(pipeline: Pipeline, commands: Sequence[bytes]) -> list[Any]:
        replies = pipeline(commands)
        for reply in replies:
            if isinstance(reply, exceptions.ResponseError) and "BUSY" in str(reply):
                end_the_script(reply)
        return replies

    def connect(address: Address) -> Link:
        try:
            return step_between(Connector(settings)(address), look)
        except UnreachableError as error:
            end_the_script(error)
            raise

    standalone.ask("CONFIG", "SET", "lua-time-limit", 1)
    script = standalone.link()
    with ThreadPoolExecutor(1) as pool:
        endless = pool.submit(script.ask, b"EVAL", b"while true do end", 0)
        until(lambda: _is_busy(standalone))
        report = sweep_now(settings, connect)
        assert "Error running script" in str(endless.exception()) or "killed" in str(endless.exception())
    script.close()
    assert "BUSY" in refusals[0]
    assert (report.status, report.deleted) == ("complete", 1)


def _is_busy(node: Node) -> bool:
    try:
        node.ask("GET", "test:1")
    except exceptions.ResponseError as error:
        return "script" in str(error)
    return False


def test_the_reason_why_nothing_could_be_swept_is_reported(standalone: Node) -> None:
    """If a single server refuses every delete until the deadline, the report has the server's words."""
    fill(standalone, {b"test:1"})
    standalone.ask("CONFIG", "SET", "min-replicas-to-write", 1)
    report = sweep_now(settings_for(f"redis://127.0.0.1:{standalone.port}"), seconds=1)
    assert (report.status, report.deleted) == ("incomplete", 0)
    assert report.errors[0].startswith("not all keys were examined (NOREPLICAS Not enough good replicas to write")


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
