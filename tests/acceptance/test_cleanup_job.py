"""`k6-sweep run` in a Job's pod: run again, killed, run again."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from k6_sweep.demo.keys import write_keys
from k6_sweep.demo.servers import LocalCluster
from tests.acceptance.command import Ended, k6_sweep
from tests.reports import report_in
from tests.support import KINDS, keys_of, until

OTHERS = [b"user:%d" % number for number in range(500)]


def job(cluster: LocalCluster, *options: str) -> list[str]:
    patterns = [word for kind in KINDS for word in ("--pattern", f"{kind}:*")]
    return ["run", "--redis-url", cluster.url, *patterns, *options]


def by_pattern(ended: Ended) -> dict[str, int]:
    lines = [json.loads(line) for line in ended.log.splitlines()]
    return {line["pattern"]: line["matched"] for line in lines if line["event"] == "pattern counted"}


@pytest.fixture
def filled(cluster: LocalCluster) -> LocalCluster:
    """Two thousand keys of each of the guide's patterns, and some foreign keys."""
    write_keys(cluster, [f"{kind}:{number}".encode() for kind in KINDS for number in range(2000)] + OTHERS)
    return cluster


def test_a_retry_after_a_kill_finishes_the_work(filled: LocalCluster, tmp_path: Path) -> None:
    """A killed sweep's message never counts too much, the next pod finishes, and another one finds nothing."""
    message = tmp_path / "message"
    killed = subprocess.Popen(
        [sys.executable, "-m", "k6_sweep", *job(filled, "--max-rate", "2000", "--termination-log", str(message))],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    until(lambda: message.exists() and bool(text := message.read_text()) and report_in(text)["deleted"] > 0)
    killed.send_signal(signal.SIGKILL)
    assert killed.communicate()[0] == b""
    left = keys_of(filled.primaries)
    told = report_in(message.read_text())
    assert told["status"] == "sweeping"
    assert 0 < told["deleted"] <= 2000 * len(KINDS) + len(OTHERS) - len(left)

    retried = k6_sweep(*job(filled, "--termination-log", str(message)))
    assert (retried.code, retried.report["status"]) == (0, "complete")
    assert retried.report["deleted"] == len(left) - len(OTHERS) > 0
    assert by_pattern(retried) == retried.report["patterns"]
    assert report_in(message.read_text())["deleted"] == retried.report["deleted"]

    again = k6_sweep(*job(filled))
    assert (again.code, again.report["status"], again.report["deleted"]) == (0, "complete", 0)
    assert by_pattern(again) == dict.fromkeys((f"{kind}:*" for kind in KINDS), 0)
    assert keys_of(filled.primaries) == set(OTHERS)


def test_its_log_has_the_counts_by_pattern(filled: LocalCluster) -> None:
    """The log has one line for each pattern, in order, then the report, all with the same run id."""
    ended = k6_sweep(*job(filled, "--log-format", "json"))
    lines = [json.loads(line) for line in ended.log.splitlines()]
    assert list(by_pattern(ended).items()) == [(f"{kind}:*", 2000) for kind in KINDS]
    assert len({line["run"] for line in lines}) == 1
    assert lines[-1]["event"] == "done"
    told = {name: value for name, value in ended.report.items() if name not in {"errors", "warnings"}}
    assert told.items() <= lines[-1].items()
