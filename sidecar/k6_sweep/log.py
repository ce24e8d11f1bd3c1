"""Writes log lines to standard error as JSON or text.

A line of JSON has `time` (UTC), `level`, `event`, `run` (one id for all lines of a run, or of a sweep of the endpoint),
and the event's own fields. docs/operations.md lists the events.
"""

import json
import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partialmethod
from typing import Any, Final, Self, TextIO

LOGGER_NAME: Final = "k6-sweep"
_COLOURS: Final = {"debug": "2", "info": "32", "warning": "33", "error": "31"}


class Log:
    """Logs events: each has a short text and its facts as fields."""

    def __init__(self, logger: logging.Logger, on_terminal: bool = False, bound: Mapping[str, Any] = {}) -> None:
        self._logger = logger
        self.on_terminal = on_terminal
        """Whether the log goes to a terminal, where a person reads it."""
        self._bound = dict(bound)

    def bind(self, **fields: Any) -> Self:
        """Return a log that adds these fields to each event."""
        return type(self)(self._logger, self.on_terminal, self._bound | fields)

    def _write(self, level: int, event: str, *, traceback: bool = False, **fields: Any) -> None:
        self._logger.log(level, event, exc_info=traceback, extra={"fields": self._bound | fields})

    debug = partialmethod(_write, logging.DEBUG)
    """Write a detail for the search of a fault."""
    info = partialmethod(_write, logging.INFO)
    """Write a normal step."""
    warning = partialmethod(_write, logging.WARNING)
    """Write a problem that may need a person."""
    error = partialmethod(_write, logging.ERROR)
    """Write a failure."""
    exception = partialmethod(_write, logging.ERROR, traceback=True)
    """Write a failure with the traceback of the current exception."""


class _JsonFormatter(logging.Formatter):
    def __init__(self, run: str) -> None:
        super().__init__()
        self._run = run

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "run": self._run,
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class _TextFormatter(logging.Formatter):
    def __init__(self, coloured: bool) -> None:
        super().__init__()
        self._coloured = coloured

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        level = record.levelname.lower()
        shown = " ".join(f"{name}={_shown(value)}" for name, value in getattr(record, "fields", {}).items())
        line = f"{time} {self._painted(f'{level:7}', _COLOURS.get(level, '0'))} {_on_one_line(record.getMessage())}"
        line += "  " + self._painted(_on_one_line(shown), "2") if shown else ""
        return line + ("\n" + self.formatException(record.exc_info) if record.exc_info else "")

    def _painted(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._coloured else text


def _shown(value: object) -> str:
    """Return a value as text that cannot look like two fields."""
    text = json.dumps(value, default=str) if isinstance(value, (dict, list, tuple)) else str(value)
    return json.dumps(text) if isinstance(value, str) and set(text) & set(' ="') else text


def _on_one_line(text: str) -> str:
    """Escape characters that end or color the line: a field may hold a pattern, and a pattern may hold any text."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to the current sys.stderr, which rich replaces while it draws bars."""

    stream = property(lambda _: sys.stderr, lambda _self, _stream: None)


def open_log(form: str | None, level: str, run: str = "", stream: TextIO | None = None) -> Log:
    """Return the process's log.

    Args:
        form: json or text; None means text on a terminal, otherwise json.
        level: A level of logging, in lower case.
        run: The id of this run, which every line of JSON has.
        stream: The output; standard error by default.
    """
    terminal = (stream or sys.stderr).isatty()
    form = form or ("text" if terminal else "json")
    coloured = terminal and not os.environ.get("NO_COLOR")
    handler = logging.StreamHandler(stream) if stream else _StandardError()
    handler.setFormatter(_JsonFormatter(run) if form == "json" else _TextFormatter(coloured))
    logger = logging.getLogger(LOGGER_NAME)
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(level.upper())
    return Log(logger, on_terminal=terminal and form == "text")
