"""What is probably a mistake is reported, and names of keys are shown only to a person."""

import json

import pytest

from k6_sweep.demo.keys import write_keys
from k6_sweep.demo.servers import LocalCluster
from k6_sweep.sweep.look import MOST_KEYS
from tests.acceptance.command import k6_sweep
from tests.acceptance.test_terminal import on_a_terminal
from tests.reports import report_in
from tests.support import keys_of

MISTAKEN = ("--pattern", "test:*", "--pattern", "tset:*", "--keep", "test:vip:*", "--keep", "test:vpi:*")


@pytest.fixture
def filled(cluster: LocalCluster) -> LocalCluster:
    write_keys(cluster, [b"test:%d" % number for number in range(50)] + [b"test:vip:1", b"user:1"])
    return cluster


@pytest.mark.parametrize("command", [["run"], ["run", "--dry-run"], ["check"]])
def test_a_pattern_and_a_keep_without_keys_are_warnings(filled: LocalCluster, command: list[str]) -> None:
    """A sweep, a dry run and `check` warn of the pattern and the keep that mean no key, in report and log."""
    ended = k6_sweep(*command, "--redis-url", filled.url, *MISTAKEN)
    assert (ended.code, ended.report["errors"]) == (0, [])
    pattern, keep = ended.report["warnings"]
    assert pattern.startswith("--pattern 'tset:*' matched no key; check its spelling")
    assert keep.startswith("--keep 'test:vpi:*' spared no key; check its spelling, or remove it")
    lines = [json.loads(line) for line in ended.log.splitlines()]
    assert [line["problem"] for line in lines if line["event"] == "warning"] == [pattern, keep]


def test_only_a_sweep_that_examined_every_key_warns(filled: LocalCluster) -> None:
    """If the time was too short to examine every key, a pattern without keys is no warning: its keys may be there."""
    slow = ("--max-rate", "20", "--timeout", "1")
    ended = k6_sweep("run", "--redis-url", filled.url, *MISTAKEN, *slow)
    assert (ended.code, ended.report["status"], ended.report["warnings"]) == (3, "incomplete", [])


def test_check_looks_at_a_limited_number_of_keys(cluster: LocalCluster) -> None:
    """If Redis holds more keys than `check` looks at, it warns of no pattern: the rest may have its keys."""
    write_keys(cluster, (b"user:%d" % number for number in range(MOST_KEYS + 5000)))
    ended = k6_sweep("check", "--redis-url", cluster.url, "--pattern", "test:*")
    assert (ended.report["status"], ended.report["warnings"]) == ("ready", [])


def test_the_message_has_the_warnings(filled: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The termination message names the first warning, even if it must be short."""
    message = tmp_path_factory.mktemp("pod") / "message"
    limits = ("--termination-log", str(message), "--message-limit", "512")
    k6_sweep("run", "--redis-url", filled.url, *MISTAKEN, *limits)
    assert report_in(message.read_text())["warnings"][0].startswith("--pattern 'tset:*' matched no key")


def test_names_of_keys_go_to_a_terminal(filled: LocalCluster) -> None:
    """`run --dry-run --show-keys` prints names of keys that would go, and none that would stay."""
    words = ("run", "--dry-run", "--redis-url", filled.url, *MISTAKEN, "--show-keys", "50")
    drawn = on_a_terminal(*words, env={"NO_COLOR": "1"}).plain.splitlines()
    assert {f"  test:{number}" for number in range(50)} == {line for line in drawn if line.startswith("  test:")}
    assert len(keys_of(filled.primaries)) == 52


def test_names_of_keys_go_nowhere_else(filled: LocalCluster) -> None:
    """Without a terminal, --show-keys is refused, so that no name gets into a container's log."""
    ended = k6_sweep("run", "--dry-run", "--redis-url", filled.url, "--pattern", "test:*", "--show-keys", "5")
    assert (ended.code, ended.report["deleted"]) == (2, 0)
    assert "--show-keys prints names of keys to a terminal only" in ended.report["errors"][0]
    assert "test:1" not in ended.log
