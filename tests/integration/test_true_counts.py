"""Whatever ends a sweep, its counts are those of the keys that are gone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from k6_sweep.cluster.connector import Connector
from k6_sweep.cluster.link import Connect, Link, Sent
from k6_sweep.commands.run import sweep_once
from k6_sweep.demo.keys import write_keys
from k6_sweep.demo.servers import LocalCluster
from k6_sweep.kube.own_pod import OwnPod
from k6_sweep.report import Report
from k6_sweep.settings.values import Address
from k6_sweep.sweep.result import FaultError, Progress
from k6_sweep.sweep.sweeper import sweep
from tests.slow_network import Way, behind
from tests.support import keys_of, limited, quiet_log, settings_for

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


@dataclass
class Defect:
    """Opens links; the one to `broken` fails at a write with a command, after some that succeed."""

    connect: Connect
    broken: Address
    succeed: int
    command: bytes = b"UNLINK"

    def __call__(self, address: Address) -> Link:
        link = self.connect(address)
        send, writes = link.send, iter(range(10**9))

        def send_or_fail(commands: Sequence[bytes]) -> Sent:
            if any(self.command in command for command in commands) and next(writes) >= self.succeed:
                raise LookupError("a defect")
            return send(commands)

        if address == self.broken:
            link.send = send_or_fail  # type: ignore[method-assign]  # only for this link
        return link


@pytest.mark.parametrize("after", [0, 1, 40])
def test_a_defect_in_the_work_on_one_shard(filled: LocalCluster, after: int) -> None:
    """If a defect ends the work on one shard, the counts of all shards are kept."""
    error = ended_by(filled, Defect(Connector(settings_for(filled.url)), filled.primaries[0].address, after))
    assert str(error) == "internal error: LookupError"
    assert error.progress.deleted == error.progress.matched == gone(filled)
    assert KEYS / 2 < error.progress.deleted < KEYS


@pytest.mark.parametrize(("listing", "command", "succeed"), [(True, b"UNLINK", 10), (False, b"SCAN", 5)])
def test_a_defect_while_writes_are_on_their_way(
    filled: LocalCluster, listing: bool, command: bytes, succeed: int
) -> None:
    """The deletes that were sent before the defect, and not answered yet, count: by slots, and by SCAN."""
    for node in filled.primaries:
        node.ask("ACL", "SETUSER", "default", f"{'+' if listing else '-'}cluster|getkeysinslot")
    with behind(filled, Way(delay=0.02)) as far:
        connect = Defect(Connector(settings_for(far.url)), far.primaries[0].address, succeed, command)
        error = ended_by(far, connect)
    assert error.progress.deleted == error.progress.matched == gone(filled) < KEYS


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
