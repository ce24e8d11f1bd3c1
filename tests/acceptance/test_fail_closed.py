"""No mistake in a setting that protects loses a key: each ends with exit code 2 and names the setting and the cause."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import pytest

from k6_sweep.cluster.link import pack
from k6_sweep.demo.servers import LocalCluster, local_cluster
from k6_sweep.inject.settings import InjectSettings
from k6_sweep.settings.options import Option, Role, flag_name, options_of, variable_name
from k6_sweep.settings.snapshot import SnapshotSettings
from tests.acceptance.command import k6_sweep
from tests.reports import report_in
from tests.support import keys_of

PROTECTING: Final = {
    name: spec
    for name, spec in (options_of(SnapshotSettings) | options_of(InjectSettings)).items()
    if spec.role is Role.PROTECTS
}
SECRET: Final = "s3cr3t"
"""Stands where a user wrote a password by mistake."""
OTHERS: Final = "name-of-a-person"
"""In the names of keys that no output may have."""
KEYS: Final = [f"{start}:{OTHERS}:{number}" for start in ("test", "test:keep", "user") for number in range(20)]

ALONE: Final = """
import contextlib, io, json, signal, sys
from k6_sweep.cli import main
for line in sys.stdin:
    signal.alarm(60)  # a mistake that is accepted could start a server or a wait without end
    argv, environ = json.loads(line)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(argv, environ)
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""
"""A process that runs one command after another, each with its own environment: 150 interpreters would take minutes."""


@dataclass(frozen=True)
class Row:
    """A command with a mistake."""

    setting: str
    """The field of the setting that the mistake is in."""
    said: Sequence[str]
    """Parts of the message."""
    argv: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    command: str = "run"
    needs: bool = True
    """Whether the command also gets a Redis and a pattern."""

    def __str__(self) -> str:
        words = [f"{name}={text!r}" for name, text in self.env.items()]
        return " ".join([*words, self.command, *(repr(word)[1:-1] for word in self.argv)])[:100] or "nothing"


def _command_of(spec: Option) -> str:
    return next(command for command in ("run", "watch", "serve", "inject") if spec.serves(command))


def _empty() -> Iterator[Row]:
    """What an unset variable of a shell, of compose or of CI leaves."""
    for name, spec in PROTECTING.items():
        option, variable, command = flag_name(name), variable_name(name), _command_of(spec)
        for text in ["", " ", *([", ", ",", "\n", "x,", ",x"] if spec.many else [])]:
            yield Row(name, [f"{variable} is empty; give it a value, or remove it"], (), {variable: text}, command)
        if not spec.secret:
            said = [f"{option} is empty; give it a value, or remove it"]
            yield Row(name, said, [f"{option}="], {}, command)
            if not spec.flag:
                yield Row(name, said, [option, ""], {}, command)


def _other_names() -> Iterator[Row]:
    """What a variable is called that k6-sweep does not read."""
    for name, spec in PROTECTING.items():
        variable, command = variable_name(name), _command_of(spec)
        for wrong in (variable.lower(), f"SWEEP_{name}", f"K6_{variable}"):
            yield Row(name, [f"unknown variable {wrong}; write {variable}"], (), {wrong: "true"}, command)
    for wrong in (
        "sweep.dry.run",
        "SWEEP-DRY-RUN",
        "Sweep_Dry_Run",
        "SWEEP_DRYRUN",
        "_SWEEP_DRY_RUN",
        "SWEEP_DRY_RUN ",
    ):
        yield Row("dry_run", [f"unknown variable {wrong}; write SWEEP_DRY_RUN"], (), {wrong: "true"})
    for wrong in ("SWEP_DRY_RUN", "SWEEEP_DRY_RUN", "SWEEPER_DRY_RUN", "KSWEEP_DRY_RUN", "MY_SWEEP_DRY_RUN"):
        yield Row("dry_run", [f"unknown variable {wrong}; write SWEEP_DRY_RUN"], (), {wrong: "true"})
    for wrong in ("SWEEP_DRY_RUNS", "sweep_dri_run"):
        yield Row("dry_run", [f"unknown variable {wrong}; did you mean SWEEP_DRY_RUN?"], (), {wrong: "true"})
    for wrong in ("SWEEP_REDIS_PORT", "SWEEP_PORT", "SWEEP_REDIS_SERVICE_PORT"):
        yield Row("redis_url", [f"unknown variable {wrong}"], (), {wrong: "18001"})
    for wrong in ("SWEEP_REDIS_HOST", "SWEEP_REDIS_DB", "SWEEP_REDIS_SERVICE_HOST"):
        yield Row("redis_url", [f"unknown variable {wrong}"], (), {wrong: "redis.staging"})
    for wrong in ("--dryrun", "--dry_run", "--Dry-Run", "--dry-runs", "-n"):
        yield Row("dry_run", [f"unknown option {wrong}"], [wrong])
    yield Row("keep", ["unknown option --keeps; did you mean --keep?"], ["--keeps", "test:keep:*"])
    yield Row("max_keys", ["unknown option --max-key; did you mean --max-keys?"], ["--max-key", "5"])


def _twice() -> Iterator[Row]:
    """An option with two values, of which one would be ignored."""
    for name, command, texts in (
        ("redis_url", "run", ("redis://127.0.0.1:1", "redis://127.0.0.1:2")),
        ("max_keys", "run", ("1", "1000000")),
        ("require_marker", "run", ("a", "b")),
        ("dry_run", "run", ("true", "false")),
        ("allow_broad_patterns", "run", ("false", "true")),
        ("preserve_existing", "run", ("/a", "/b")),
        ("when", "watch", ("success", "always")),
        ("k6_process", "watch", ("k6", "k7")),
    ):
        argv = [f"{flag_name(name)}={text}" for text in texts]
        yield Row(name, [f"{flag_name(name)} is given twice, with different values; keep one"], argv, {}, command)
    yield Row(
        "allowed_namespace",
        ["--allowed-namespace and SWEEP_ALLOWED_NAMESPACE differ; keep one of them"],
        ["--allowed-namespace", "load-*"],
        {"SWEEP_ALLOWED_NAMESPACE": "*", "POD_NAMESPACE": "production"},
    )


QUOTES, BLANK, SEPARATOR, REGEX = "quote", "has a blank at an end", "has a separator between values", "is a regular"
NAME, LIST, NOTHING, CASE = "nothing replaced", "is a list", "spares no key that any --pattern", "in the same case"
BOTH = "is in both --pattern and --keep"
KEEPS: Final = [
    *[(text, QUOTES) for text in ("'test:keep:*'", '"test:keep:*"', "`test:keep:*`", "“test:keep:*”", "test:'keep:*'")],
    *[(text, QUOTES) for text in ("'test:keep:*", 'test:keep:*"', 'test:"keep":*')],
    *[(text, REGEX) for text in ("^test:keep:.*", "^test:keep:", "test:keep:.*", "test:keep:.+", "test:keep:*$")],
    *[(text, REGEX) for text in ("test:(keep|a):*", "test:keep:[0-9]+", "(?i)test:*")],
    *[(text, SEPARATOR) for text in ("test:keep:*;test:a:*", "test:keep:*; test:a:*", "test:keep:* test:a:*")],
    *[(text, SEPARATOR) for text in ("test:keep:*|test:a:*", "test:keep:*\ttest:a:*")],
    *[(text, NAME) for text in ("$PREFIX:keep:*", "${PREFIX}keep:*", "test:$(KIND):*", "test:$kind:*", "%PREFIX%:*")],
    *[(text, NAME) for text in ("{{ .Values.prefix }}:*", "{{prefix}}:*", "{{- $x }}:*", "%(prefix)s:*", "<PREFIX>:*")],
    *[(text, LIST) for text in ("- test:keep:*", '["test:keep:*"]', "[test:keep:*]", "['test:keep:*']")],
    *[(text, CASE) for text in ("TEST:KEEP:*", "Test:keep:*", "TEST:keep:?")],
    *[(text, NOTHING) for text in ("keep:*", "user:*", "tes", "test", "test:[]*", "0:test:keep:*", "dGVzdDprZWVwOio")],
    *[(text, "ends with a separator") for text in ("test:keep:", "test:keep/", "test:keep-")],
    *[(text, "is not special in a glob") for text in ("!test:keep:*", "#test:keep:*", "-test:keep:*", "test:keep:%")],
    *[
        (text, "is invisible or looks like")
        for text in ("test:keep:\uff0a", "test\uff1akeep:*", "\u200btest:keep:*", "test:keep:\x00*")
    ],
    *[(text, "begins with the name of a setting") for text in ("--keep=test:keep:*", "SWEEP_KEEP=test:keep:*")],
    *[
        (text, "has a backslash before a letter")
        for text in (r"test:keep:\d*", r"test:keep:\w+", r"test:keep:*\ntest:a:*")
    ],
    *[(text, "nothing replaced") for text in ("null", "undefined", "test:<no value>:*")],
    *[(text, REGEX) for text in ("(test:keep:*)", "/test:keep:.*/", "test:keep:{1..9}", "test:{a..c}:*")],
    *[(text, SEPARATOR) for text in ("test:keep:*&test:a:*", "test:keep:*+test:a:*")],
    *[
        (text, "has a class, [...], that looks like a list")
        for text in ("test:[keep;admin]:*", "test:[keep|ab]:*", "test:[a-Z]*", "test:[1-10]:*", "test:[0-20]:*")
    ],
    *[(text, "has a class, [...], that looks like a list") for text in ("test:[keep]:*", "test:[[:alpha:]]*")],
    *[(text, "has a class that begins with !") for text in ("test:[!a]*", "test:[!a-j]eep:*")],
    *[(text, "has a backslash before its *") for text in (r"test:keep:\*", r"test:keep\:\*")],
    *[(text, SEPARATOR) for text in (r"test:keep:*\,test:b:*", r"test:keep:*\;test:b:*")],
    *[(text, "has a comment") for text in ("test:keep:* # ours", "test:keep:*#ours")],
    *[
        (text, "has a placeholder of a template")
        for text in ("test:keep:#{id}", "test:keep:{}", "test:keep:%s", "test:keep:%2A", "test:@ID@:*", "test:keep:$1")
    ],
    *[(text, REGEX) for text in ("test:!(a)*", "test:@(keep):*", "test:keep:*)", "test:keep:*>", "test:keep:*]")],
    *[(text, "is invisible or looks like") for text in ("test:keep:*\ufe0f", "test:keep:\u22c6", "test\u2236keep:*")],
    ("test:keep:\\", "ends with a lone \\"),
    ("test:[keep:*", "has a [ without a ]"),
    ("test:*", BOTH),
]


def _keeps() -> Iterator[Row]:
    """The forms of a mistaken --keep, as option and as variable."""
    for text, cause in KEEPS:
        place = "--keep" if cause in {CASE, NOTHING, BOTH} else "SWEEP_KEEP"
        yield Row("keep", ["--keep", cause], [f"--keep={text}"])
        yield Row("keep", [place, cause], (), {"SWEEP_KEEP": text})
    for text in (" test:keep:*", "test:keep:* ", "test:keep:*\r\n", "\xa0test:keep:*"):
        yield Row("keep", ["--keep", BLANK], ["--keep", text])
    yield Row("keep", ["--keep", SEPARATOR], ["--keep", "test:keep:*,test:a:*"])
    yield Row("keep", ["--keep", "has a class, [...]"], ["--keep", "test:[keep,admin]:*"])
    yield Row("keep", ["SWEEP_KEEP", LIST], (), {"SWEEP_KEEP": "- test:keep:*\n- test:a:*"})
    yield Row("keep", ["SWEEP_KEEP", "has a [ without a ]"], (), {"SWEEP_KEEP": '["test:keep:*", "test:a:*"]'})
    yield Row("keep", ["SWEEP_KEEP", QUOTES], (), {"SWEEP_KEEP": "'test:keep:*','test:a:*'"})
    yield Row("keep", ["SWEEP_KEEP", NAME], (), {"SWEEP_KEEP": "test:keep:*,$MORE:*"})
    yield Row("keep", ["--keep", NOTHING], ["--keep", "test:keep:*", "--keep", "tset:a:*"])
    yield Row("keep", ["unexpected argument"], ["--keep", "test:keep:*", "test:a:*"])
    yield Row("keep", ["--keep", "expected one argument"], ["--keep"])
    yield Row("keep", ["--keep", "expected one argument"], ["--keep", "--dry-run"])
    yield Row("keep", ["unknown option"], ["--", "--keep", "test:keep:*"])


def _values() -> Iterator[Row]:
    """Values that the other protecting settings of a sweep cannot have."""
    for text in ("perhaps", "y", "2", "dry", "'true'", "$DRY_RUN"):
        for name in ("dry_run", "allow_broad_patterns", "redis_tls_insecure"):
            yield Row(name, [f"{variable_name(name)} must be true or false"], (), {variable_name(name): text})
    yield Row("only_new", ["--only-new must be true or false"], ["--only-new=new"], {}, "inject")
    yield Row("no_guard", ["--no-guard must be true or false"], ["--no-guard=none"], {}, "inject")
    for text in ("0", "-1", "1e3", "1_000", "1 000", "10k", "0x10", "'5'", "$MAX"):
        yield Row("max_keys", ["--max-keys must be"], [f"--max-keys={text}"])
    for text in (
        "'load-*'",
        "load-*,staging",
        "load-.*",
        "^load-.*$",
        "Load-*",
        "$NAMESPACE",
        "load-* ",
        "!production",
    ):
        yield Row("allowed_namespace", ["--allowed-namespace must be a namespace"], ["--allowed-namespace", text])
    for text, cause in (("'marker'", QUOTES), ("$MARKER", NAME), ("marker ", BLANK), ("- marker", LIST)):
        yield Row("require_marker", ["--require-marker", cause], ["--require-marker", text])
    yield Row("redis_username", ["--redis-username", NAME], ["--redis-username", "${REDIS_USER}"])
    for text, cause in (
        ("'test:*'", "is in quotes"),
        ("$PREFIX:*", NAME),
        ("test:*,user:*", SEPARATOR),
        ("test:\\", "lone"),
    ):
        yield Row("pattern", ["--pattern", cause], ["--pattern", text])


def _waits() -> Iterator[Row]:
    """Values that the protecting settings of a wait cannot have."""
    for text in ("failed", "SUCCESS", "ever"):
        yield Row("when", ["--when must be one of"], ["--when", text], {}, "watch")
    for text in ("load-test", "jobs/load-test", "job/", "job/$NAME"):
        yield Row("target", ["--target must be"], ["--target", text], {}, "watch")
    for name in ("k6_process", "k6_container"):
        yield Row(name, [flag_name(name), QUOTES], [flag_name(name), "'k6'"], {}, "watch")


def _places() -> Iterator[Row]:
    """Files and addresses that cannot be used, and secrets in their place."""
    yield Row("redis_ca_file", ["--redis-ca-file is a file that cannot be read"], ["--redis-ca-file", "/no/ca.crt"])
    yield Row("listen", ["--listen must be HOST:PORT"], ["--listen", "127.0.0.1"], {}, "serve")
    for name in ("redis_password_file", "admin_token_file"):
        said = [f"{flag_name(name)} is a file that cannot be read", "give a path, not the secret itself"]
        yield Row(name, said, [flag_name(name), SECRET], {}, "serve")
    for name in ("tls_cert_file", "tls_key_file"):
        said = [f"{flag_name(name)} is a file that cannot be read"]
        yield Row(name, said, [flag_name(name), "/no/tls"], {}, "serve")
    for name in ("redis_ca_config_map", "redis_ca_secret"):
        yield Row(name, [f"{flag_name(name)} must be NAME"], [flag_name(name), "a/b/c"], {}, "inject")
    for url, cause in (
        (f"redis://{SECRET}@127.0.0.1:PORT/", "has a slash but no database number"),
        (f"redis://{SECRET}@127.0.0.1:", "has a colon but no port"),
        (f"redis://{SECRET}@127.0.0.1:PORT//1", "must end with the host, the port or a database number"),
        (f"redis://{SECRET}@127.0.0.1:PORT/a", "must end with the host, the port or a database number"),
        (f"redis://{SECRET}@127.0.0.1:PORT?db=1", "must not contain ?options"),
        (f"redis://{SECRET}@$REDIS_HOST:PORT", "has an invalid host or port"),
        (f"redis://{SECRET}@127.0.0.1:$PORT", "has an invalid host or port"),
        (f"redis://:{SECRET}@127.0.0.1:1\t2", "has a blank or a line end"),
        (f"redis://{SECRET}@a:1,redis://b:2", "has an invalid host or port"),
        (f"'redis://{SECRET}@127.0.0.1:PORT'", "must start with redis://"),
        (SECRET, "must start with redis://"),
        ("redis://:@127.0.0.1:PORT", "has an empty login before @"),
        ("redis://@127.0.0.1:PORT", "has an empty login before @"),
        ("redis://default:@127.0.0.1:PORT", "has an empty password before @"),
    ):
        argv = ["--pattern", "test:*", "--redis-url", url]
        yield Row("redis_url", ["--redis-url", cause], argv, needs=False)
    pem = f"-----BEGIN PRIVATE KEY-----\n{SECRET}"
    for name in ("redis_ca_file", "redis_cert_file", "redis_key_file"):
        yield Row(
            name,
            [f"{variable_name(name)} is a file that cannot be read", "not the content"],
            (),
            {variable_name(name): pem},
        )
    for text in ("$TOKEN", "${TOKEN}", "null"):
        yield Row(
            "admin_token",
            ["SWEEP_ADMIN_TOKEN has a name that nothing replaced"],
            (),
            {"SWEEP_ADMIN_TOKEN": text},
            "serve",
        )
    for name in ("preserve_existing", "snapshot_max_age", "target"):
        yield Row(
            name,
            [f"inject does not pass on {variable_name(name)}; remove it"],
            (),
            {variable_name(name): "job/x"},
            "inject",
        )
    for name in ("keep", "max_keys"):
        yield Row(name, [flag_name(name)], [f"{flag_name(name)}=--"])


ROWS: Final = [*_empty(), *_other_names(), *_twice(), *_keeps(), *_values(), *_waits(), *_places()]


@pytest.fixture(scope="module")
def cluster_of_others() -> Iterator[LocalCluster]:
    from tests.conftest import server_binaries  # noqa: PLC0415  # the one that the other tests use

    with local_cluster(server_binaries()[0], primaries=3) as cluster:
        for node in cluster.primaries:
            link = node.link()
            link.pipeline([pack((b"SET", key.encode(), b"")) for key in KEYS])  # each node takes those of its slots
            link.close()
        assert keys_of(cluster.primaries) == {key.encode() for key in KEYS}
        yield cluster


class Runner:
    """Runs commands in one process; starts another one after a command that did not end by itself."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(self, argv: Sequence[str], env: Mapping[str, str]) -> tuple[int, str, str]:
        if self._process is None:
            command = [sys.executable, "-c", ALONE]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([argv, env]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            self.end()
            pytest.fail("the command did not end by itself")
        code, out, err = json.loads(line)
        return code, out, err

    def end(self) -> None:
        if self._process:
            self._process.communicate()  # closes its input, which ends it
            self._process = None


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    one = Runner()
    yield one
    one.end()


def words_of(row: Row, cluster: LocalCluster) -> list[str]:
    port = cluster.primaries[0].port
    needed = ["--redis-url", f"redis://127.0.0.1:{port}", "--pattern", "test:*"] if row.needs else []
    return [row.command, *needed, *(word.replace("PORT", str(port)) for word in row.argv)]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_mistake_ends_before_redis(row: Row, cluster_of_others: LocalCluster, runner: Runner) -> None:
    """A mistake ends with exit code 2 and its cause, deletes nothing, and shows no secret, key name or traceback."""
    code, out, err = runner.run(words_of(row, cluster_of_others), row.env)
    assert (code, [part for part in row.said if part not in out + err]) == (2, []), out + err
    assert [word for word in ("Traceback", SECRET, OTHERS) if word in out + err] == []
    assert keys_of(cluster_of_others.primaries) == {key.encode() for key in KEYS}


def test_every_protecting_setting_is_in_the_table() -> None:
    """Each setting that protects has several rows."""
    rows = [row.setting for row in ROWS]
    assert [name for name in PROTECTING if rows.count(name) < 4] == []
    assert len(ROWS) > 150


MEANT: Final[list[tuple[Sequence[str], Mapping[str, str]]]] = [
    ((), {"SWEEP_PATTERN": r"order\,user:*"}),  # one pattern with a comma, which no key here matches
    (("--pattern", "order,user:*"), {}),  # the same: in the option, a comma is a character of the key
    (("--pattern", "test:*", "--keep", "test:*:*"), {}),
    (("--pattern", "test:*"), {"SWEEP_KEEP": "test:*:1?\r\n test:*:?\n"}),
    (("--pattern", "test:*", "--keep", "test:keep:*"), {"SWEEP_KEEP": f"test:{OTHERS[0]}*"}),  # both count
    (("--pattern", "test:*"), {"SWEEP_DRY_RUN": " TRUE "}),
    (("--pattern", "test:*", "--dry-run", "--dry-run=yes"), {"SWEEP_DRY_RUN": "no"}),
    (("--pattern", "test:*", "--dry-run"), {"SWEEP_WHEN": "", "SWEEP_OUT": ""}),  # settings of other commands
    (
        ("--pattern", "test:*", "--dry-run"),
        {"SWEEP_API_PORT": "tcp://10.0.0.1:80", "SWEEP_API_SERVICE_HOST": "10.0.0.1"},
    ),
    (("--pattern", "Test:*", "--keep", "Test:keep"), {}),  # the only key of this name
]


@pytest.mark.parametrize(("argv", "env"), MEANT, ids=str)
def test_what_is_meant(
    argv: Sequence[str], env: Mapping[str, str], cluster_of_others: LocalCluster, runner: Runner
) -> None:
    """What can be meant is accepted, and spares the keys that it should."""
    url = f"redis://127.0.0.1:{cluster_of_others.primaries[0].port}"
    code, out, _ = runner.run(["run", "--redis-url", url, *argv], env)
    assert (code, report_in(out)["deleted"]) == (0, 0)
    assert keys_of(cluster_of_others.primaries) == {key.encode() for key in KEYS}


def test_all_mistakes_come_at_once(cluster_of_others: LocalCluster) -> None:
    """A real process reports every mistake in one message, from options and variables, and loses no key."""
    url = f"redis://127.0.0.1:{cluster_of_others.primaries[0].port}"
    argv = ["run", "--redis-url", url, "--pattern", "test:*", "--keep", "'a'", "--keep", "b;", "--max-keys", "x"]
    found = k6_sweep(*argv, env={"SWEEP_DRY_RUN": "", "sweep_keep": "test:*:*", "SWEEP_KEEP": "^c"})
    assert (found.code, found.report["status"], found.report["deleted"]) == (2, "error", 0)
    assert len(found.report["errors"]) == 6
    assert keys_of(cluster_of_others.primaries) == {key.encode() for key in KEYS}


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_user_of_the_url_may_be_the_password(command: str, cluster_of_others: LocalCluster) -> None:
    """A user name without a password in the URL is not repeated, on a login that fails and in the warning."""
    url = f"redis://{SECRET}@127.0.0.1:{cluster_of_others.primaries[0].port}"
    found = k6_sweep(command, "--redis-url", url, "--pattern", "test:*", "--timeout", "1", "--log-level", "debug")
    assert (found.code, found.report["status"]) == (5, "failed")
    assert "as the user in --redis-url (write redis://:PASSWORD@HOST for a password)" in found.report["errors"][0]
    assert "--redis-url contains a login" in found.log
    assert SECRET not in found.log + str(found.report)
