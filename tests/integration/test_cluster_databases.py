"""Databases other than 0 in a cluster: Valkey 9 may have them, other servers refuse them."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from k6_sweep.cluster.connector import Connector
from k6_sweep.demo.servers import LocalCluster, local_cluster
from k6_sweep.errors import DeniedError, RefusedError, SweepError
from k6_sweep.sweep.sweeper import take_snapshot
from tests.support import limited, quiet_log, settings_for, snapshot_settings_for, sweep_now

pytestmark = pytest.mark.every_server

KEY = b"test:{a}:1"


@pytest.fixture
def cluster_with_databases(server_binary: str) -> Iterator[LocalCluster]:
    """One primary with four databases, or with one if the server has no such option."""
    with ExitStack() as running:
        try:
            cluster = running.enter_context(local_cluster(server_binary, 1, options={"cluster-databases": "4"}))
        except SweepError:
            cluster = running.enter_context(local_cluster(server_binary, 1))
        yield cluster


def has_databases(cluster: LocalCluster) -> bool:
    return bool(cluster.nodes[0].ask("CONFIG", "GET", "cluster-databases"))


def write(cluster: LocalCluster, database: int) -> None:
    with closing(cluster.nodes[0].link()) as link:
        link.ask("SELECT", database)
        link.ask("SET", KEY, "x")


def test_only_the_named_database_is_swept(cluster_with_databases: LocalCluster, tmp_path: Path) -> None:
    """A sweep of database 1 deletes its keys and no others, and no snapshot of database 0 is valid there."""
    url = cluster_with_databases.url
    write(cluster_with_databases, 0)
    if not has_databases(cluster_with_databases):
        with pytest.raises(DeniedError, match=r"refused the connection: .*SELECT"):
            sweep_now(settings_for(f"{url}/1"))
        return
    settings = snapshot_settings_for(url, tmp_path / "file")
    taken, _ = take_snapshot(settings, Connector(settings), limited(lambda: 60.0), quiet_log(), lambda _: None)
    taken.write(tmp_path / "file")
    write(cluster_with_databases, 1)
    with pytest.raises(RefusedError, match="another database"):
        sweep_now(settings_for(f"{url}/1", "--preserve-existing", str(tmp_path / "file")))
    report = sweep_now(settings_for(f"{url}/1"))
    assert (report.status, report.deleted, report.slots_done) == ("complete", 1, 16384)
    assert sweep_now(settings_for(f"{url}/1", "--dry-run")).matched == 0
    assert sweep_now(settings_for(url, "--dry-run")).matched == 1
