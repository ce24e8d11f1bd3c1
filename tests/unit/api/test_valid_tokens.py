"""Which tokens are valid while their file changes."""

import io
import json
from pathlib import Path

import pytest

from k6_sweep.api.tokens import Tokens
from k6_sweep.log import open_log
from tests.support import settings_for

FIRST, SECOND = b"first-of-two-tokens", b"second-of-two-tokens"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_bytes(b"ci " + FIRST)
    return path


@pytest.fixture
def logged() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def tokens(file: Path, logged: io.StringIO) -> Tokens:
    settings = settings_for("redis://h", "--admin-token-file", str(file), command="serve")
    return Tokens(settings, open_log("json", "info", stream=logged))


def names(tokens: Tokens) -> list[str | None]:
    """Return the names under which the two tokens are valid."""
    return [found.name if found else None for found in map(tokens.find, (FIRST, SECOND))]


def events(logged: io.StringIO) -> list[str]:
    return [json.loads(line)["event"] for line in logged.getvalue().splitlines()]


def test_a_rotation_has_no_gap(tokens: Tokens, file: Path, logged: io.StringIO) -> None:
    """Both tokens are valid while both are in the file; each change is logged once, with the names."""
    assert names(tokens) == ["ci", None]
    file.write_bytes(b"ci " + FIRST + b"\nci-2 " + SECOND)
    assert names(tokens) == names(tokens) == ["ci", "ci-2"]
    file.write_bytes(b"ci-2 " + SECOND)
    assert names(tokens) == [None, "ci-2"]
    assert [json.loads(line).get("tokens") for line in logged.getvalue().splitlines()] == [["ci", "ci-2"], ["ci-2"]]


@pytest.mark.parametrize("content", [b"", b"ci " + FIRST + b"\n\nci-2 " + SECOND, b"ci " + FIRST + b"\nci " + SECOND])
def test_a_broken_file_changes_no_token(tokens: Tokens, file: Path, logged: io.StringIO, content: bytes) -> None:
    """With a mistake in the file, the tokens of before stay valid, and no others are; the log has it once."""
    file.write_bytes(content)
    assert names(tokens) == names(tokens) == ["ci", None]
    assert tokens.find(b"") is None
    assert events(logged) == ["admin tokens not read again"]
    file.write_bytes(b"ci " + SECOND)
    assert names(tokens) == [None, "ci"]


def test_without_its_file_no_token_is_valid(tokens: Tokens, file: Path, logged: io.StringIO) -> None:
    """If the file is gone, no token is valid until it is back; the log has it once."""
    file.unlink()
    assert names(tokens) == names(tokens) == [None, None]
    assert events(logged) == ["admin token not readable"]
    file.write_bytes(b"ci " + FIRST)
    assert names(tokens) == ["ci", None]


def test_short_tokens_are_warned_about(tokens: Tokens, file: Path, logged: io.StringIO) -> None:
    """A token that can be guessed is a warning when it comes, not at each request."""
    file.write_bytes(b"ci " + FIRST + b"\njane x")
    assert names(tokens) == names(tokens) == ["ci", None]
    assert events(logged) == ["admin tokens changed", "unsafe setting"]
