"""Settings: their sources and precedence. For bad settings see tests/acceptance/test_bad_input.py."""

import argparse
import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k6_sweep.cli import COMMANDS
from k6_sweep.inject.settings import InjectSettings
from k6_sweep.patterns import Pattern
from k6_sweep.settings.all import Settings
from k6_sweep.settings.options import Role, TakenBy, flag_name, options_of, variable_name
from k6_sweep.settings.parse import parse, settings_of, warnings
from k6_sweep.settings.read import Parser
from k6_sweep.settings.redis_url import RedisUrl, Secret
from k6_sweep.settings.snapshot import SnapshotSettings
from k6_sweep.settings.values import Address

NEEDED = {"SWEEP_REDIS_URL": "redis://redis", "SWEEP_PATTERN": "test:*"}


def read(*argv: str, command: str = "run", **environ: str) -> Settings:
    settings, problems = parse(Settings, command, Parser(), argv, NEEDED | environ)
    assert problems == []
    return settings


def test_an_option_beats_its_variable() -> None:
    """An option takes precedence over its variable; a list replaces the whole list."""
    settings = read(
        "--timeout", "5m", "--pattern", "a:*", "--pattern", "b,c", SWEEP_TIMEOUT="7", SWEEP_PATTERN="other:*"
    )
    assert settings.timeout == 300
    assert settings.pattern == (Pattern("a:*"), Pattern("b,c"))


def test_lists_in_variables() -> None:
    """Commas and newlines separate values in a variable; surrounding spaces and empty parts are ignored."""
    assert read(SWEEP_PATTERN="abc:*, def:*\n\n ghi:* ,").pattern == (
        Pattern("abc:*"),
        Pattern("def:*"),
        Pattern("ghi:*"),
    )


def test_a_backslash_makes_a_comma_part_of_the_pattern() -> None:
    """`\\,` in a variable is the glob for a comma, and separates nothing."""
    assert read(SWEEP_PATTERN=r"order\,user:*,test:*").pattern == (Pattern(r"order\,user:*"), Pattern("test:*"))


def test_an_empty_variable_is_not_set() -> None:
    """An empty variable leaves the default, unless the setting protects."""
    settings = options_of(SnapshotSettings)
    assert read(SWEEP_MAX_RATE="", SWEEP_SETTLE="", SWEEP_LOG_FORMAT="").max_rate is None
    for command in COMMANDS:
        for name, spec in settings.items():
            if spec.serves(command) and spec.role is Role.PROTECTS:
                for empty in ("", " ", "\n", ","[: spec.many]):
                    said = problems_of(command=command, **{variable_name(name): empty})
                    assert f"{variable_name(name)} is empty; give it a value, or remove it" in said


def test_lists_that_protect() -> None:
    """The patterns to spare of option and variable count together; two lists of allowed namespaces may not differ."""
    assert read("--keep", "test:a*", SWEEP_KEEP="test:b*\n").keep == (Pattern("test:a*"), Pattern("test:b*"))
    assert problems_of("--keep", "test:a*", SWEEP_KEEP="test:b*,") == [
        "SWEEP_KEEP is empty; give it a value, or remove it"
    ]
    assert read("--allowed-namespace", "a", SWEEP_ALLOWED_NAMESPACE="a\n").allowed_namespace == ("a",)
    (problem,) = problems_of("--allowed-namespace", "a", SWEEP_ALLOWED_NAMESPACE="b")
    assert problem == "--allowed-namespace and SWEEP_ALLOWED_NAMESPACE differ; keep one of them"


def test_an_option_given_twice() -> None:
    """An option that takes one value may be repeated only with the same value."""
    assert read("--timeout", "60", "--timeout", "1m", "--dry-run", "--dry-run=yes").timeout == 60
    assert problems_of("--timeout", "5", "--timeout", "6") == [
        "--timeout is given twice, with different values; keep one"
    ]


@pytest.mark.parametrize(("text", "value"), [("true", True), ("1", True), ("no", False), ("off", False)])
def test_flags(text: str, value: bool) -> None:
    """A flag needs no value or takes a boolean, so that an option can undo a variable."""
    assert read(SWEEP_DRY_RUN=text).dry_run is value
    assert read(f"--dry-run={text}", SWEEP_DRY_RUN="true").dry_run is value
    assert read("--dry-run").dry_run


def test_defaults_by_command() -> None:
    """Only `watch` has a settle time by default."""
    assert (read().settle, read(command="watch").settle) == (0.0, 2.0)


def problems_of(*argv: str, command: str = "run", **environ: str) -> list[str]:
    return parse(settings_of(command), command, Parser(allow_abbrev=False), argv, NEEDED | environ)[1]


def test_settling_needs_the_verifying_passes() -> None:
    """A given --settle contradicts --no-verify; the default of `watch` does not."""
    assert problems_of("--no-verify", command="watch") == []
    assert problems_of("--no-verify", "--settle", "0", command="watch") == []
    for command in ("run", "watch"):
        (problem,) = problems_of("--no-verify", "--settle", "2", command=command)
        assert "--settle needs the passes that --no-verify turns off" in problem


def test_each_group_of_commands_has_a_use() -> None:
    """Every group of commands is used by a setting, and the widest group has every command."""
    settings = options_of(SnapshotSettings) | options_of(InjectSettings)
    assert {spec.taken_by for spec in settings.values()} == set(TakenBy)
    assert set(TakenBy.ALL.value) == {*COMMANDS, "inject"}


def test_settings_of_other_commands() -> None:
    """A command refuses other commands' options by name and ignores their variables, which one pod may share."""
    assert problems_of("--out", "x") == ["--out is not an option of run; it belongs to snapshot"]
    assert problems_of(SWEEP_OUT="x", SWEEP_WHEN="unheard of", SWEEP_SNAPSHOT_LIMIT="none") == []
    assert not hasattr(read(), "out")


@pytest.mark.parametrize(
    ("command", "option", "said"),
    [
        ("watch", "--whenn", "unknown option --whenn; did you mean --when?"),
        ("run", "--whenn", "unknown option --whenn"),
        ("run", "--redis-passwor", "unknown option --redis-passwor; did you mean --redis-password-file?"),
        ("run", "--admin-toke", "unknown option --admin-toke"),
    ],
)
def test_a_suggestion_is_an_option_of_the_command(command: str, option: str, said: str) -> None:
    """An option is suggested only if the command takes it on the command line."""
    assert problems_of(option, command=command) == [said]


def test_service_links_are_not_settings() -> None:
    """Variables that Kubernetes adds for a Service named sweep or sweep-api are ignored."""
    read(
        SWEEP_SERVICE_HOST="10.0.0.1",
        SWEEP_PORT="tcp://10.0.0.1:80",
        SWEEP_PORT_80_TCP_ADDR="10.0.0.1",
        SWEEP_API_SERVICE_HOST="fd00::1",
        SWEEP_API_SERVICE_PORT="80",
        SWEEP_API_SERVICE_PORT_HTTP="80",
        SWEEP_API_PORT="tcp://[fd00::1]:80",
        SWEEP_API_PORT_80_TCP="tcp://[fd00::1]:80",
        SWEEP_API_PORT_80_TCP_PROTO="tcp",
        SWEEP_API_PORT_80_TCP_PORT="80",
        SWEEP_API_PORT_80_TCP_ADDR="fd00::1",
    )


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SWEEP_REDIS_PORT", "18001", "unknown variable SWEEP_REDIS_PORT"),
        ("SWEEP_REDIS_SERVICE_PORT", "18001", "unknown variable SWEEP_REDIS_SERVICE_PORT"),
        ("SWEEP_REDIS_SERVICE_HOST", "redis", "unknown variable SWEEP_REDIS_SERVICE_HOST"),
        ("SWEEP_REDIS_PORT_6379_TCP_ADDR", "redis", "unknown variable SWEEP_REDIS_PORT_6379_TCP_ADDR"),
        ("sweep_dry_run", "true", "unknown variable sweep_dry_run; write SWEEP_DRY_RUN"),
        ("Sweep_Keep", "test:a*", "unknown variable Sweep_Keep; write SWEEP_KEEP"),
        ("SWEEP-DRY-RUN", "true", "unknown variable SWEEP-DRY-RUN; write SWEEP_DRY_RUN"),
        ("sweep.keep", "test:a*", "unknown variable sweep.keep; write SWEEP_KEEP"),
        ("K6_SWEEP_DRY_RUN", "true", "unknown variable K6_SWEEP_DRY_RUN; write SWEEP_DRY_RUN"),
        ("sweep_dryrun", "true", "unknown variable sweep_dryrun; write SWEEP_DRY_RUN"),
        ("SWEEP_KEEPS", "test:a*", "unknown variable SWEEP_KEEPS; did you mean SWEEP_KEEP?"),
    ],
)
def test_variables_that_would_not_be_read(name: str, value: str, said: str) -> None:
    """A variable that looks like one of k6-sweep's, but is none, is a problem."""
    (problem,) = problems_of(**{name: value})
    assert problem.startswith(said)


def test_a_login_on_the_command_line_is_unsafe() -> None:
    """A login in --redis-url on the command line gets a warning; in the variable it does not."""
    for url, unsafe in (("redis://:secret@h", 1), ("redis://secret@h", 1), ("redis://h", 0)):
        found, problems = parse(Settings, "run", Parser(), ["--redis-url", url, "--pattern", "test:*"], {})
        assert problems == []
        assert len(warnings(found, ["--redis-url", url])) == len(warnings(found, [f"--redis-url={url}"])) == unsafe
        assert warnings(found, []) == []
        assert "secret" not in f"{found!r}{warnings(found, ['--redis-url'])}{found.shown_username}"


@pytest.mark.parametrize("text", ["s3cret", "s3/cret==", "/s3cret", "x" * 5000, "a.b", "s3cret/", "~/s3cret"])
@pytest.mark.parametrize("name", ["redis-password-file", "admin-token-file"])
def test_a_secret_in_place_of_its_file_is_not_repeated(name: str, text: str) -> None:
    """A text that names no file may be the secret, and the message does not repeat it."""
    said = "\n".join(problems_of(f"--{name}", text, command="serve"))
    assert f"--{name} is a file that cannot be read: it does not exist; give a path, not the secret itself" in said
    assert text not in said


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("redis://h", RedisUrl(Address("h", 6379))),
        ("rediss://h:1/2", RedisUrl(Address("h", 1), tls=True, database=2)),
        ("redis://u:p%40%2Fss@[::1]:7", RedisUrl(Address("::1", 7), username="u", password=Secret("p@/ss"))),
        ("unix:///run/redis.sock", RedisUrl(socket_path="/run/redis.sock")),
    ],
)
def test_urls(text: str, url: RedisUrl) -> None:
    """A URL is parsed into its parts, and neither it nor the settings show a password."""
    assert RedisUrl.parse(text) == url
    assert "p@" not in repr(RedisUrl.parse(text))
    assert "p@" not in str(RedisUrl.parse(text))


@pytest.mark.parametrize(
    "text",
    [
        "secret",
        "http://:secret@h",
        "redis://:secret@",
        "redis://h:secret",
        "redis://h/secret",
        "unix://",
        "redis://h?secret",
        "redis://secret@h:",
        "redis://secret@h/",
        "redis://secret@h//1",
        "redis://secret@h/01",
        "redis://secret@h:0",
        "redis://secret@h:1\t2",
        "redis://secret@h: 1",
        "redis://secret@$HOST:6379",
        "redis://secret@h,i:6379",
        "redis+sentinel://secret@h/master/",
        "redis+sentinel://secret@h:,i:1/master",
    ],
)
def test_malformed_urls(text: str) -> None:
    """A malformed URL is refused with a clause that does not repeat it."""
    with pytest.raises(ValueError, match=r"^(must|has|names)") as caught:
        RedisUrl.parse(text)
    assert "secret" not in str(caught.value)


@given(st.text())
def test_any_url_text_is_read_or_refused(text: str) -> None:
    """Any text is parsed as a URL or refused with a ValueError."""
    with contextlib.suppress(ValueError):
        RedisUrl.parse(text)


def test_every_setting_is_named_in_the_help() -> None:
    """Every setting of a command is in its help, with the default."""
    for command in COMMANDS:
        parser = Parser(f"k6-sweep {command}", formatter_class=argparse.HelpFormatter)
        parse(settings_of(command), command, parser, [], NEEDED)
        text = " ".join(parser.format_help().split())
        taken = {
            name for name, spec in options_of(settings_of(command)).items() if spec.serves(command) and not spec.secret
        }
        assert {name for name in taken if flag_name(name) not in text} == set()
        assert ("(default: 300)" in text) == (command == "watch")  # --start-timeout


def test_every_setting_is_documented() -> None:
    """docs/settings.md has every variable."""
    table = (Path(__file__).parents[3] / "docs" / "settings.md").read_text()
    assert [name for name in options_of(SnapshotSettings) if f"`{variable_name(name)}`" not in table] == []
