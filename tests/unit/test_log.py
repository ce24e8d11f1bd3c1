"""Every log line has the same schema, as JSON and as text."""

import io
import json

import pytest

from k6_sweep.log import open_log


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


NASTY = 'a\n{"event":"forged"}\r\x1b[31m\u2028'


def test_a_line_of_json() -> None:
    """A line has time, level, event and run, then the event's own fields; no value breaks the line."""
    stream = io.StringIO()
    log = open_log("json", "info", run="abc", stream=stream)
    log.info("done", status="complete", pattern=NASTY)
    log.bind(run="def", more=1).warning("careful")
    log.debug("not told")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert list(first) == ["time", "level", "event", "run", "status", "pattern"]
    assert (first["level"], first["run"], first["pattern"]) == ("info", "abc", NASTY)
    assert (second["level"], second["run"], second["more"]) == ("warning", "def", 1)


def test_a_traceback_is_a_field() -> None:
    """A traceback is a field, so that a fault is one line too."""
    stream = io.StringIO()
    try:
        int("bug")
    except ValueError:
        open_log("json", "info", stream=stream).exception("internal error")
    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert "ValueError: invalid literal" in line["traceback"]


def test_a_line_of_text() -> None:
    """A line of text has no run; its fields follow the event, and any value stays on one line."""
    stream = io.StringIO()
    open_log("text", "info", run="abc", stream=stream).info("done", status="complete", patterns={"a": 1}, pattern=NASTY)
    (line,) = stream.getvalue().split("\n")[:-1]
    assert line[8:].startswith(' info    done  status=complete patterns={"a": 1} pattern="a\\n')
    assert line.isprintable()


@pytest.mark.parametrize(
    ("stream", "no_colour", "coloured"), [(io.StringIO(), "", False), (Terminal(), "", True), (Terminal(), "1", False)]
)
def test_colour_only_on_a_terminal(
    stream: io.StringIO, no_colour: str, coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a terminal gets escape codes, and not with NO_COLOR."""
    monkeypatch.setenv("NO_COLOR", no_colour)
    open_log("text", "info", stream=stream).error("bad", pattern=NASTY)
    assert ("\x1b[31merror" in stream.getvalue()) is coloured
    assert "\x1b[31m\\u2028" not in stream.getvalue()


def test_text_on_a_terminal_json_elsewhere() -> None:
    """By default the log is text on a terminal and JSON elsewhere."""
    for stream, on_terminal in ((Terminal(), True), (io.StringIO(), False)):
        log = open_log(None, "info", stream=stream)
        log.info("done")
        assert stream.getvalue().startswith("{") is not on_terminal
        assert log.on_terminal is on_terminal
    assert not open_log("json", "info", stream=Terminal()).on_terminal
