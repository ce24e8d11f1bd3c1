"""Whatever ends a sweep, its counts are those of the keys that are gone."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from k6_sweep.cluster.connector import Connector
from k6_sweep.cluster.link import Connect, Link
from k6_sweep.commands.run import sweep_once
from k6_sweep.demo.keys import write_keys
from k6_sweep.demo.servers import LocalCluster
from k6_sweep.kube.own_pod import OwnPod
from k6_sweep.report import Report
from k6_sweep.settings.values import Address
from k6_sweep.sweep.result import FaultError, Progress
from k6_sweep.sweep.sweeper import sweep
from tests.support import Pipeline, keys_of, limited, quiet_log, settings_for, step_between

KEYS = 20_000


@pytest.fixture
def filled(cluster: LocalCluster) -> LocalCluster:
    write_keys(cluster, (b"test:%d" % number for number in range(KEYS)))
    return cluster


def gone(cluster: LocalCluster) -> int:
    return KEYS - len(keys_of(cluster.primaries))


def ended_by(cluster: LocalCluster, connect: Connect, on_progress: Callable[[Progress], None] = lambda _: None) -> Any:
    """Run a sweep that a defect ends; return the error."""
    with pytest.raises(FaultError) as fault:
        sweep(settings_for(cluster.url), connect, limited(lambda: 120.0), quiet_log(), on_progress)
    return fault.value


@pytest.mark.parametrize("after", [0, 1, 40])
def test_a_defect_in_the_work_on_one_shard(filled: LocalCluster, after: int) -> None:
    """If a defect ends the work on one shard, the counts of all shards are kept."""
    connect = Connector(settings_for(filled.url))
    broken, writes = filled.primaries[0].address, iter(range(10**9))

    def with_defect(pipeline: Pipeline, commands: Sequence[bytes]) -> list[Any]:
        if any(b"UNLINK" in command for command in commands) and next(writes) >= after:
            raise LookupError("a defect")
        return pipeline(commands)

    def connect_with_defect(address: Address) -> Link:
        link = connect(address)
        return step_between(link, with_defect) if address == broken else link

    error = ended_by(filled, connect_with_defect)
    assert str(error) == "internal error: LookupError"
    assert error.progress.deleted == error.progress.matched == gone(filled)
    assert KEYS / 2 < error.progress.deleted < KEYS


def test_a_defect_beside_the_work(filled: LocalCluster) -> None:
    """A defect outside the shards' threads stops them before their next write, and no delete is missed."""

    def fail(progress: Progress) -> None:
        if progress.deleted:
            raise LookupError("a defect")

    settings = settings_for(filled.url, "--max-rate", "10000")
    with pytest.raises(FaultError) as fault:
        sweep(settings, Connector(settings), limited(lambda: 120.0), quiet_log(), fail)
    assert 0 < fault.value.progress.deleted == gone(filled) < KEYS
    assert sum(fault.value.progress.patterns.values()) == gone(filled)


def test_the_report_of_a_defect(filled: LocalCluster) -> None:
    """The report of a defect is an error, and has the counts; the log has the traceback."""

    def fail(progress: Progress) -> None:
        if progress.deleted:
            raise LookupError("a defect")

    settings = settings_for(filled.url, "--max-rate", "10000")
    report: Report = sweep_once(settings, OwnPod(), quiet_log(), limited(lambda: 120.0), fail)
    body = report.as_dict()
    assert (body["status"], body["errors"]) == ("error", ["internal error: LookupError"])
    assert 0 < body["deleted"] == body["matched"] == gone(filled)
    assert report.exit_code("ignore") == 1


def test_a_denial_in_the_middle(filled: LocalCluster) -> None:
    """If a server denies deletes in the middle of a sweep, the report counts what was deleted before, on all shards."""
    node = filled.primaries[0]

    def deny(progress: Progress) -> None:
        if progress.deleted:
            node.ask("ACL", "SETUSER", "default", "-unlink")

    settings = settings_for(filled.url, "--max-rate", "10000")
    report = sweep(settings, Connector(settings), limited(lambda: 120.0), quiet_log(), deny)
    assert report.status == "incomplete"
    assert "NOPERM" in report.errors[0]
    assert 0 < report.deleted == sum(report.shards.values()) == gone(filled) < KEYS


def test_a_primary_that_is_killed(small_cluster: LocalCluster) -> None:
    """If a primary dies in the middle of a sweep, what was deleted on the others is counted exactly."""
    write_keys(small_cluster, (b"test:%d" % number for number in range(KEYS)))
    killed, *others = small_cluster.primaries
    before = sum(len(keys_of([node])) for node in others)
    time_left = [120.0]

    def kill(progress: Progress) -> None:
        if progress.deleted:
            killed.process.kill()
            killed.process.wait()
            time_left[0] = 0.0

    settings = settings_for(small_cluster.url, "--max-rate", "10000")
    report = sweep(settings, Connector(settings), limited(lambda: time_left[0]), quiet_log(), kill)
    assert report.status == "incomplete"
    deleted = sum(count for shard, count in report.shards.items() if shard != str(killed.address))
    assert 0 < deleted == before - sum(len(keys_of([node])) for node in others)
    assert report.deleted >= deleted
