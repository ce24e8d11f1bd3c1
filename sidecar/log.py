"""Writes log lines to standard error, as JSON or as text."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final, TextIO

LOGGER_NAME: Final = "k6-sweep"


class Log:
    """Tells events: a sentence, and its facts as fields beside it."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, event: str, **fields: Any) -> None:  # noqa: ANN401  # whatever JSON takes
        """Tell what only a search for a fault needs."""
        self._logger.debug(event, extra={"fields": fields})

    def info(self, event: str, **fields: Any) -> None:  # noqa: ANN401  # the same
        """Tell a step on the way."""
        self._logger.info(event, extra={"fields": fields})

    def warning(self, event: str, **fields: Any) -> None:  # noqa: ANN401  # the same
        """Tell what may need a person."""
        self._logger.warning(event, extra={"fields": fields})

    def error(self, event: str, **fields: Any) -> None:  # noqa: ANN401  # the same
        """Tell what went wrong."""
        self._logger.error(event, extra={"fields": fields})

    def exception(self, event: str, **fields: Any) -> None:  # noqa: ANN401  # the same
        """Tell what went wrong, with the traceback of the exception that is being handled."""
        self._logger.error(event, exc_info=True, extra={"fields": fields})  # noqa: LOG014  # called from one


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        fields = " ".join(f"{name}={value}" for name, value in getattr(record, "fields", {}).items())
        line = f"{time} {record.levelname.lower():7} {record.getMessage()}" + (f"  {fields}" if fields else "")
        # A field may hold a pattern, and a pattern may hold anything: keep one event on one line.
        line = line.encode("unicode_escape").decode("ascii") if not line.isprintable() else line
        return line + ("\n" + self.formatException(record.exc_info) if record.exc_info else "")


def open_log(form: str | None, level: str, stream: TextIO | None = None) -> Log:
    """Return the process's log.

    Args:
        form: json or text; None is text on a terminal and json elsewhere.
        level: One of logging's levels, in lower case.
        stream: Where to write; standard error if it isn't given.
    """
    stream = stream or sys.stderr
    form = form or ("text" if stream.isatty() else "json")
    logger = logging.getLogger(LOGGER_NAME)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_JsonFormatter() if form == "json" else _TextFormatter())
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(level.upper())
    return Log(logger)
