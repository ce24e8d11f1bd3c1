"""Parses the text of one setting; each function raises ValueError with a clause about the form it must have."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from k6_sweep.files.ours import IsOurs, check_ours
from k6_sweep.files.regular import UnusableFileError, open_regular
from k6_sweep.patterns import Pattern
from k6_sweep.settings import mistakes

_LONGEST_PATH: Final = 4096
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
        if not re.fullmatch(r"\s*[+-]?[0-9]+\s*", text):  # int() also reads 1_000
            raise ValueError(f"must be a whole number, not {text!r}")
        number = int(text)
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


def _pattern_unless(find_mistake: Callable[[str], str | None]) -> Callable[[str], Pattern]:
    def parse(text: str) -> Pattern:
        pattern = Pattern(text)
        if mistake := pattern.mistake or find_mistake(text):
            raise ValueError(f"{text!r} {mistake}")
        return pattern

    return parse


pattern_of: Final = _pattern_unless(mistakes.in_pattern)
"""Parse a pattern; refuse one that contains a mistake."""
keep_of: Final = _pattern_unless(mistakes.in_keep)
"""Parse a pattern that protects; refuse also one that contains a sign of a mistake."""


def name_of(text: str) -> str:
    """Parse a name, such as a key's or a container's; refuse one that was surely meant as something else."""
    if mistake := mistakes.in_name(text):
        raise ValueError(f"{text!r} {mistake}")
    return text


def host_name(text: str) -> str:
    """Parse the name or the IP address of a host, without a port."""
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._:-]*[A-Za-z0-9])?", text) or re.fullmatch(r"[^:]+:\d+", text):
        raise ValueError(f"must be a host's name such as redis.example.com, without a port, not {text!r}")
    return text


def namespace_glob(text: str) -> str:
    """Parse a glob for namespaces, whose names have lower-case letters, digits and `-`."""
    if not re.fullmatch(r"([-a-z0-9*?]|\[!?[-a-z0-9]+\])+", text):
        raise ValueError(f"must be a namespace or a glob such as load-*, not {text!r}")
    return text


def namespace_of(text: str) -> str:
    """Parse the name of a namespace."""
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", text):
        raise ValueError(f"must be the name of a namespace, not {text!r}")
    return text


def readable_file(text: str) -> Path:
    """Parse the path of a regular file, and check that it is readable now; never repeat what may be its content."""
    if not _may_be_path(text):
        raise ValueError("is a file that cannot be read: it does not exist; give a path, not the content")
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


def _may_be_path(text: str) -> bool:
    """Whether this is a short text on one line, without the beginning of a PEM block, as paths are."""
    return len(text) <= _LONGEST_PATH and text.isprintable() and "-----" not in text


def secret_file(text: str) -> Path:
    """Parse the path of a file with a secret; a text that names no file may be the secret itself: never repeat it."""
    folder = os.path.dirname(text)  # noqa: PTH120  # pathlib raises an error for a text that is too long for a path
    if os.path.exists(text) or (len(folder) > 1 and os.path.isabs(text) and os.path.isdir(folder)):  # noqa: PTH110, PTH112, PTH117  # for the same reason: too long
        return readable_file(text)
    raise ValueError("is a file that cannot be read: it does not exist; give a path, not the secret itself")


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
