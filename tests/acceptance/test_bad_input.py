"""Each mistake of a user gives a clear message and its exit code, and deletes nothing."""

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from k6_sweep.demo.servers import Node, find_redis_server, start_server, stop
from tests.acceptance.command import k6_sweep
from tests.acceptance.pod import start_sidecar
from tests.support import until


@pytest.fixture
def good(redis_url: str) -> list[str]:
    return ["--redis-url", redis_url, "--pattern", "test:*"]


SETTINGS: dict[str, tuple[Sequence[str], Mapping[str, str], Sequence[str]]] = {
    "no URL, no pattern": (
        [],
        {},
        ["--redis-url (SWEEP_REDIS_URL) is required", "--pattern (SWEEP_PATTERN) is required"],
    ),
    "unknown option": (["--patern", "x"], {}, ["unknown option --patern; did you mean --pattern?"]),
    "unknown variable": (
        [],
        {"SWEEP_REDIS_ULR": "x"},
        ["unknown variable SWEEP_REDIS_ULR; did you mean SWEEP_REDIS_URL?"],
    ),
    "another command's option": (
        ["--when", "success"],
        {},
        ["--when is not an option of run; it belongs to"],
    ),
    "a password as option": (
        ["--redis-password", "geheim"],
        {},
        ["--redis-password is not an option, because other processes can read it; set SWEEP_REDIS_PASSWORD"],
    ),
    "a value is missing": (["--timeout"], {}, ["--timeout", "expected one argument"]),
    "malformed URLs": (["--redis-url", "http://me:geheim@h"], {}, ["--redis-url must start with redis://"]),
    "a malformed port": (["--redis-url", "redis://:geheim@h:99999"], {}, ["--redis-url has an invalid host or port"]),
    "an unclosed bracket": (["--pattern", "test:[ab"], {}, ["'test:[ab' has a [ without a ]"]),
    "an empty pattern": (["--pattern", ""], {}, ["'' is empty"]),
    "a file that is not there": (
        ["--redis-password-file", "/no/such"],
        {},
        ["--redis-password-file is a file that cannot be read"],
    ),
    "two passwords": (
        ["--redis-url", "redis://:geheim@h", "--pattern", "test:*"],
        {"SWEEP_REDIS_PASSWORD": "geheim"},
        ["the password is set in the URL and in SWEEP_REDIS_PASSWORD"],
    ),
    "TLS options without TLS": (
        ["--redis-url", "redis://h", "--redis-tls-insecure"],
        {},
        ["--redis-tls-insecure needs TLS"],
    ),
    "a TLS name without a check": (
        ["--redis-url", "rediss://h", "--redis-tls-insecure", "--redis-tls-server-name", "redis"],
        {},
        ["--redis-tls-insecure turns off the check that --redis-tls-server-name is for"],
    ),
    "a TLS name without TLS": (
        ["--redis-url", "redis://h", "--redis-tls-server-name", "redis"],
        {},
        ["--redis-tls-server-name needs TLS"],
    ),
    "a TLS name with a port": (
        ["--redis-url", "rediss://h", "--redis-tls-server-name", "redis:6379"],
        {},
        ["--redis-tls-server-name must be a host's name such as redis.example.com, without a port, not 'redis:6379'"],
    ),
    "in both --pattern and --keep": (["--pattern", "test:*", "--keep", "test:*"], {}, ["in both --pattern and --keep"]),
    "no verify, but settle": (
        ["--no-verify", "--settle", "5"],
        {},
        ["--settle needs the passes"],
    ),
    "not a number": (["--batch-size", "many"], {}, ["--batch-size must be a whole number"]),
    "not a time": (["--timeout", "soon"], {}, ["--timeout must be a time in seconds"]),
    "not a word": (["--log-format", "xml"], {}, ["--log-format must be one of json, text"]),
    "a bad variable": ([], {"SWEEP_DRY_RUN": "perhaps"}, ["SWEEP_DRY_RUN must be true or false"]),
    "a stray word": (["redis://:geheim@h"], {}, ["unexpected argument (not shown"]),
}


@pytest.mark.parametrize(("arguments", "env", "said"), SETTINGS.values(), ids=SETTINGS.keys())
def test_settings_that_cannot_be_used(arguments: Sequence[str], env: Mapping[str, str], said: Sequence[str]) -> None:
    """The message names every unusable setting and shows no secret."""
    ended = k6_sweep("run", *arguments, env=env)
    assert (ended.code, ended.report["status"], ended.report["deleted"]) == (2, "error", 0)
    told = "\n".join(ended.report["errors"])
    assert [text for text in said if text not in told] == []
    assert [text for text in said if text not in ended.log] == []
    assert "geheim" not in told + ended.log


def test_all_problems_come_at_once() -> None:
    """One run reports all of its mistakes, each in its own sentence."""
    ended = k6_sweep(
        "watch",
        "--redis-url",
        "http://h",
        "--timeout",
        "soon",
        "--wehn",
        "x",
        "--when",
        "maybe",
        env={"SWEEP_MAX_KEYS": "0"},
    )
    assert ended.code == 2
    assert len(ended.report["errors"]) == 6  # the sixth: no pattern


def test_a_broad_pattern_is_refused(good: list[str], redis_node: Node) -> None:
    """k6-sweep refuses a pattern that may match foreign keys, unless --allow-broad-patterns accepts it."""
    ended = k6_sweep("run", *good, "--pattern", "t*")
    assert (ended.code, ended.report["status"]) == (4, "refused")
    assert "'t*' starts with fewer than 3 literal characters" in ended.report["errors"][0]
    assert redis_node.ask("DBSIZE") == 2
    assert k6_sweep("run", *good, "--pattern", "t*", "--allow-broad-patterns").report["deleted"] == 1


@pytest.mark.parametrize("namespace", [None, "production"])
def test_a_namespace_that_is_not_allowed_is_refused(namespace: str | None, good: list[str], redis_node: Node) -> None:
    """Outside the allowed namespaces, and in an unknown one, k6-sweep deletes nothing."""
    env = {"POD_NAMESPACE": namespace} if namespace else {}
    for command in ("run", "watch", "check"):
        ended = k6_sweep(command, *good, "--allowed-namespace", "load-*", env=env)
        assert (ended.code, ended.report["status"]) == (4, "refused")
        assert "--allowed-namespace allows only load-*" in ended.report["errors"][0]
    assert redis_node.ask("DBSIZE") == 2
    assert k6_sweep("run", *good, "--allowed-namespace", "load-*", env={"POD_NAMESPACE": "load-test"}).code == 0


def test_an_unreachable_host() -> None:
    """With an unreachable Redis, `run` tries until --timeout, `check` tries once, and both exit 5."""
    target = ["--redis-url", "redis://127.0.0.1:1", "--pattern", "test:*", "--timeout", "1"]
    for command in ("run", "check"):
        ended = k6_sweep(command, *target)
        assert (ended.code, ended.report["status"]) == (5, "failed")
        assert "cannot reach 127.0.0.1:1" in ended.report["errors"][0]


def test_a_wrong_password(good: list[str], redis_node: Node, tmp_path: Path) -> None:
    """With a wrong password from a file the exit code is 5, and the message names the user and the server."""
    redis_node.ask("ACL", "SETUSER", "tester", "on", ">right", "~*", "+@all")
    secret = tmp_path / "password"
    secret.write_text("wrong\n")
    login = ["--redis-username", "tester", "--redis-password-file", str(secret)]
    for command in ("run", "check"):
        ended = k6_sweep(command, *good, *login)
        assert (ended.code, ended.report["status"]) == (5, "failed")
        assert f'cannot log in to 127.0.0.1:{redis_node.port} as "tester": WRONGPASS' in ended.report["errors"][0]
    assert redis_node.ask("DBSIZE") == 2
    secret.write_text("right\n")
    assert k6_sweep("run", *good, *login).report["deleted"] == 1


def test_a_missing_permission(good: list[str], redis_node: Node) -> None:
    """For a user without UNLINK the exit code is 5, and the message names the command."""
    redis_node.ask("ACL", "SETUSER", "reader", "on", "nopass", "~*", "+@read")
    login = {"SWEEP_REDIS_USERNAME": "reader", "SWEEP_REDIS_PASSWORD": "x"}
    for command in ("run", "check"):
        ended = k6_sweep(command, *good, env=login)
        assert (ended.code, ended.report["status"]) == (5, "failed")
        assert "unlink" in ended.report["errors"][0].lower()
    assert redis_node.ask("DBSIZE") == 2


def test_a_read_only_replica(redis_node: Node, tmp_path: Path) -> None:
    """With a replica as the only address the exit code is 5, and the message asks for its primary's."""
    replica = start_server(find_redis_server(), tmp_path, {"replicaof": f"127.0.0.1 {redis_node.port}"})
    try:
        until(lambda: b"master_link_status:up" in replica.ask("INFO", "replication"))
        ended = k6_sweep(
            "run", "--redis-url", f"redis://127.0.0.1:{replica.port}", "--pattern", "test:*", "--timeout", "1"
        )
    finally:
        stop([replica])
    assert (ended.code, ended.report["status"]) == (5, "failed")
    assert "is a read-only replica; set --redis-url to its primary" in ended.report["errors"][0]
    assert redis_node.ask("DBSIZE") == 2


def test_an_unwritable_message_file_is_not_fatal(good: list[str]) -> None:
    """If the message file cannot be written, the sweep still runs, and the log has one line about it."""
    ended = k6_sweep("run", *good, "--termination-log", "/no/such/folder/message")
    assert (ended.code, ended.report["deleted"]) == (0, 1)
    assert ended.log.count("termination message not written") == 1


def test_failure_policy_ignore(good: list[str]) -> None:
    """With the policy `ignore` a refusal exits 0 but stays in the report; bad settings still exit 2."""
    ended = k6_sweep("run", *good, "--pattern", "t*", "--failure-policy", "ignore")
    assert (ended.code, ended.report["status"]) == (0, "refused")
    assert k6_sweep("run", "--failure-policy", "ignore").code == 2


def test_check_says_that_all_is_well(good: list[str], redis_node: Node) -> None:
    """`check` exits 0 for a good set-up and deletes nothing."""
    ended = k6_sweep("check", *good)
    assert (ended.code, ended.report["status"], ended.report["errors"]) == (0, "ready", [])
    assert redis_node.ask("DBSIZE") == 2


def test_watch_warns_early_when_redis_is_not_ready(tmp_path: Path) -> None:
    """`watch` reports an unreachable Redis at once, and goes on waiting for k6."""
    options = ("--detector", "process", "--k6-process", "no-such-process")
    sidecar = start_sidecar(tmp_path, "redis://127.0.0.1:1", *options, env={"KUBERNETES_SERVICE_HOST": ""})
    until(lambda: "cannot reach 127.0.0.1:1" in sidecar.log_file.read_text())
    assert sidecar.still_waits()
    sidecar.process.send_signal(signal.SIGTERM)
    assert sidecar.report()["status"] == "unseen"
    assert sidecar.process.returncode == 6


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "Usage: k6-sweep COMMAND"),
        (["--help"], 0, "Exit codes:"),
        (["--version"], 0, "k6-sweep "),
        (["help"], 0, "Exit codes:"),
        (["help", "help"], 0, "Exit codes:"),
        (["version"], 0, "k6-sweep "),
        (["redis://:geheim@h"], 2, "unknown command (not shown"),
        (["rnu", "--redis-url", "redis://:geheim@h"], 2, "unknown command rnu; did you mean run?"),
        (["help", "inejct"], 2, "unknown command inejct; did you mean inject?"),
        (["run", "--help"], 0, "--redis-url URL"),
        (["help", "run"], 0, "--redis-url URL"),
        (["help", "inject"], 0, "--uninject"),
        (["demo", "--help"], 0, "usage: k6-sweep demo"),
        (["demo", "--fast"], 2, "usage: k6-sweep demo"),
    ],
)
def test_help(arguments: list[str], code: int, said: str) -> None:
    """Help and version are under their usual names; a wrong command is named only if it is almost a command."""
    done = subprocess.run([sys.executable, "-m", "k6_sweep", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert said in (done.stderr if code else done.stdout)
    assert "geheim" not in done.stdout + done.stderr
