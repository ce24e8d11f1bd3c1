"""Parses the text of one setting; each function raises ValueError with a clause about the form it must have."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from k6_sweep.files.ours import IsOurs, check_ours
from k6_sweep.files.regular import UnusableFileError, open_regular
from k6_sweep.patterns import Pattern

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def boolean(text: str) -> bool:
    """Parse a boolean."""
    word = text.strip().lower()
    if word in {"true", "1", "yes", "on"}:
        return True
    if word in {"false", "0", "no", "off"}:
        return False
    raise ValueError("must be true or false")


def seconds(text: str) -> float:
    """Parse a duration such as 60, 60s, 500ms, 5m or 1h; return seconds."""
    number, unit = text.strip(), "s"
    for candidate in sorted(_UNITS, key=len, reverse=True):
        if number.endswith(candidate):
            number, unit = number[: -len(candidate)], candidate
            break
    try:
        value = float(number) * _UNITS[unit]
    except ValueError:
        raise ValueError(f"must be a time in seconds such as 60, 60s, 5m or 1h, not {text!r}") from None
    if not 0 <= value < float("inf"):
        raise ValueError(f"must be a time of 0 seconds or more, not {text!r}")
    return value


def positive_seconds(text: str) -> float:
    """Parse a duration longer than 0; return seconds."""
    value = seconds(text)
    if not value:
        raise ValueError("must be longer than 0 seconds")
    return value


def whole_number(low: int, high: int | None = None) -> Callable[[str], int]:
    """Return a parser of whole numbers from low to high."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise ValueError(f"must be a whole number, not {text!r}") from None
        if number < low or (high is not None and number > high):
            raise ValueError(
                f"must be {low} or more, not {number}" if high is None else f"must be {low} to {high}, not {number}"
            )
        return number

    return parse


@dataclass(frozen=True)
class OneOf:
    """A parser of one of these words."""

    words: tuple[str, ...]

    def __call__(self, text: str) -> str:
        """Return the text if it is one of the words."""
        if text not in self.words:
            raise ValueError(f"must be one of {', '.join(self.words)}, not {text!r}")
        return text


def one_of(*words: str) -> OneOf:
    """Return a parser of one of these words."""
    return OneOf(words)


def pattern_of(text: str) -> Pattern:
    """Parse a pattern; refuse one that contains a mistake."""
    pattern = Pattern(text)
    if pattern.mistake:
        raise ValueError(f"{text!r} {pattern.mistake}")
    return pattern


def readable_file(text: str) -> Path:
    """Parse the path of a regular file, and check that it is readable now."""
    path = Path(text)
    try:
        os.close(open_regular(path))
    except OSError as error:
        raise ValueError(f"is a file that cannot be read: {text!r} ({error.strerror})") from None
    return path


def file_to_write(is_ours: IsOurs) -> Callable[[str], Path]:
    """Return a parser of paths; it refuses a file with a text that is not k6-sweep's, and what is no regular file."""

    def parse(text: str) -> Path:
        path = Path(text)
        try:
            check_ours(path, is_ours)
        except UnusableFileError as error:
            raise ValueError(f"names a file that k6-sweep must not write to: {text!r} ({error.strerror})") from None
        except OSError:
            pass  # what cannot be opened cannot be written over; the log reports it, and the sweep goes on
        return path

    return parse


@dataclass(frozen=True)
class Address:
    """The address of a server: host and port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse HOST:PORT; an IPv6 host is in brackets."""
        host, colon, port = text.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        if not colon or not host or (":" in host and not bracketed):
            raise ValueError(f"must be HOST:PORT such as 0.0.0.0:8000 or [::]:8000, not {text!r}")
        return cls(host[1:-1] if bracketed else host, whole_number(0, 65535)(port))


def http_url(text: str) -> str:
    """Parse an http:// or https:// URL; refuse one that contains a login."""
    parts = urlsplit(text)
    try:
        sound = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        sound = False
    if not sound or not text.isprintable() or " " in text:
        raise ValueError("must be a URL such as http://HOST:PORT or https://HOST")
    if "@" in parts.netloc:
        raise ValueError("must not contain a login, because manifests and logs show it")
    return text
