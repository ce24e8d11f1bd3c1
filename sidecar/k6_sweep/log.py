"""Writes log lines to standard error as JSON or text.

A line of JSON has `time` (UTC), `level`, `event`, `run` (one id for all lines of a run, or of a sweep of the endpoint),
and the event's own fields. docs/operations.md explains the events.
"""

import json
import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from functools import partialmethod
from typing import Any, Final, Self, TextIO

LOGGER_NAME: Final = "k6-sweep"
_COLOURS: Final = {"debug": "2", "info": "32", "warning": "33", "error": "31"}


class LogEvent(StrEnum):
    """What a log line reports: fixed phrases, which users search for. docs/operations.md gives each one's fields."""

    API_RECOVERED = "news from the Kubernetes API again"
    API_SILENT = "no news from the Kubernetes API"
    CHECK_PASSED = "check passed"
    CONNECTION_LOST = "connection to a primary lost"
    CONTAINER_ENDED = "k6 container has ended"
    DONE = "done"
    EVENT_NOT_CREATED = "Event not created"
    EXISTING_PRESERVED = "existing keys are preserved"
    INTERNAL_ERROR = "internal error"
    K6_ENDED = "k6 has ended"
    K6_RUNNING = "k6 is running"
    LISTENING = "listening"
    LISTING_DENIED = "slot listing denied, using SCAN"
    LOCK_NOT_TAKEN = "sweep lock not taken"
    LOCK_NOT_RELEASED = "sweep lock not released"
    MESSAGE_NOT_WRITTEN = "termination message not written"
    METRICS_NOT_PUSHED = "metrics not pushed"
    METRICS_NOT_WRITTEN = "metrics not written"
    OWN_POD_READ = "own pod read"
    OWN_POD_UNREADABLE = "own pod not readable"
    PATTERN_COUNTED = "pattern counted"
    PODS_CHANGED = "pods changed"
    PREFLIGHT_FAILED = "preflight failed"
    PREFLIGHT_PASSED = "preflight passed"
    PROBLEM = "problem"
    REDIS_UNREACHABLE = "Redis is unreachable, retrying"
    REGISTER_UNCHANGED = "register of tests not changed"
    REGISTER_UNUSABLE = "register of tests not usable"
    REQUEST = "request"
    SERVER_PROBLEM = "HTTP server problem"
    SETTINGS_WARNING = "unsafe setting"
    SLOTS_LEFT = "slots not finished, retrying"
    SNAPSHOT_KEPT = "snapshot kept"
    SNAPSHOT_NOT_MARKED = "snapshot not marked as used"
    SNAPSHOT_TAKEN = "snapshot taken"
    SWEEP_NOT_RECORDED = "sweep not recorded"
    SWEEP_PROGRESS = "sweep in progress"
    SWEEP_SLOW = "sweep is slow"
    SWEEP_STARTED = "sweep started"
    TEST_REGISTERED = "test registered"
    TOKEN_UNREADABLE = "admin token not readable"  # noqa: S105  # the name of an event
    TOKENS_BROKEN = "admin tokens not read again"
    TOKENS_CHANGED = "admin tokens changed"
    TOPOLOGY_UNREADABLE = "cluster topology not read"
    WAITING_FOR_CONTAINER = "waiting for the k6 container to end"
    WAITING_FOR_K6 = "waiting for k6"
    WAITING_FOR_OTHER_TEST = "waiting for another test"
    WAITING_FOR_SIGTERM = "waiting for SIGTERM"
    WARNING = "warning"
    WAIT_OVER = "wait is over, k6 is still running"


class Log:
    """Logs events: each has a fixed phrase, and its facts as fields."""

    def __init__(
        self,
        logger: logging.Logger,
        on_terminal: bool = False,
        bound: Mapping[str, Any] = {},
        *,
        can_redraw: bool = False,
    ) -> None:
        self._logger = logger
        self.on_terminal = on_terminal
        """Whether the log goes to a terminal, where a person reads it."""
        self.can_redraw = can_redraw
        """Whether this terminal can move its cursor, as bars need it."""
        self._bound = dict(bound)

    def bind(self, **fields: Any) -> Self:
        """Return a log that adds these fields to each event."""
        return type(self)(self._logger, self.on_terminal, self._bound | fields, can_redraw=self.can_redraw)

    def _write(self, level: int, event: LogEvent, *, traceback: bool = False, **fields: Any) -> None:
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


def _parts(record: logging.LogRecord) -> tuple[str, dict[str, Any]]:
    """Return the event and its fields; a record of a library, such as uvicorn, becomes one event of its own."""
    if record.name == LOGGER_NAME:
        return record.getMessage(), dict(getattr(record, "fields", {}))
    return LogEvent.SERVER_PROBLEM, {"problem": record.getMessage()}


class _JsonFormatter(logging.Formatter):
    def __init__(self, run: str) -> None:
        super().__init__()
        self._run = run

    def format(self, record: logging.LogRecord) -> str:
        event, fields = _parts(record)
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": event,
            "run": self._run,
            **fields,
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
        event, fields = _parts(record)
        problem = f": {fields.pop('problem')}" if "problem" in fields else ""  # a sentence reads better without quotes
        shown = " ".join(f"{name}={_shown(value)}" for name, value in fields.items())
        line = f"{time} {painted(f'{level:7}', _COLOURS.get(level, '0'), self._coloured)} "
        line += on_one_line(event + problem)
        line += "  " + painted(on_one_line(shown), "2", self._coloured) if shown else ""
        return line + ("\n" + self.formatException(record.exc_info) if record.exc_info else "")


def can_redraw(stream: TextIO) -> bool:
    """Return whether the stream is a terminal that understands escape codes, for colours and for its cursor."""
    return stream.isatty() and os.environ.get("TERM", "") not in {"", "dumb", "unknown"}


def is_coloured(stream: TextIO) -> bool:
    """Return whether the stream is a terminal whose user wants colours.

    Source: https://no-color.org
    """
    return can_redraw(stream) and not os.environ.get("NO_COLOR")


def painted(text: str, colour: str, coloured: bool) -> str:
    """Return the text with the escape codes of a colour."""
    return f"\x1b[{colour}m{text}\x1b[0m" if coloured else text


def _shown(value: object) -> str:
    """Return a value as text that cannot look like two fields."""
    text = json.dumps(value, default=str) if isinstance(value, (dict, list, tuple)) else str(value)
    return json.dumps(text) if isinstance(value, str) and set(text) & set(' ="') else text


def on_one_line(text: str) -> str:
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
    output = stream or sys.stderr
    terminal = output.isatty()
    form = form or ("text" if terminal else "json")
    handler = logging.StreamHandler(stream) if stream else _StandardError()
    handler.setFormatter(_JsonFormatter(run) if form == "json" else _TextFormatter(is_coloured(output)))
    logger = logging.getLogger(LOGGER_NAME)
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(level.upper())
    on_terminal = terminal and form == "text"
    return Log(logger, on_terminal, can_redraw=on_terminal and can_redraw(output))
