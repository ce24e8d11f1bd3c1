"""Reads the tokens of the endpoint: one in a variable, or several in a file, each with a name for the log."""

import re
from dataclasses import dataclass, field
from typing import Final

from k6_sweep.settings import mistakes

_SHORT: Final = 16
"""Characters of a token; 16 random ones cannot be guessed over a network."""
_NAME: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
"""The log has the names, so a line with the two in the wrong order is an error: its name is too long, or its token is
shorter than a safe one, and the name is not.
"""


@dataclass(frozen=True)
class Token:
    """One token, by its digest."""

    name: str
    """The word for it in the log."""
    digest: bytes = field(repr=False)
    is_short: bool

    @property
    def warning(self) -> str | None:
        """A sentence if the token can be guessed."""
        if not self.is_short:
            return None
        advice = "can be guessed; use `openssl rand -hex 32`"
        return f"the admin token {self.name} has less than {_SHORT} characters and {advice}"


def digest_of(token: bytes) -> bytes:
    """Return what tokens are compared by: it has the same length for all."""
    from hashlib import sha256  # loads OpenSSL, 4 MiB; only the endpoint needs it

    return sha256(token).digest()


def one_token(text: bytes, source: str) -> tuple[list[Token], list[str]]:
    """Return the token of a variable, and a sentence for each problem."""
    problem = _problem(text.strip(), source)
    return ([], [problem]) if problem else ([_token(source, text.strip())], [])


def tokens_in(content: bytes, source: str) -> tuple[list[Token], list[str]]:
    """Return the tokens of a file, which has `TOKEN` or `NAME TOKEN` in each line, and a sentence for each problem."""
    lines = [line.strip(b" \t\r") for line in content.rstrip().split(b"\n")]
    if not any(lines):
        return [], [_empty(source)]
    found: dict[bytes, Token] = {}
    problems: list[str] = []
    places: dict[bytes | str, str] = {}
    """The first line with a token or a name."""
    problem: str | None
    for number, line in enumerate(lines, 1):
        place = f"line {number}"
        *names, token = re.split(rb"[ \t]+", line)
        name = names[0].decode("latin-1") if names else place
        if not line:
            problem = f"{source}: {place} is empty; remove it"
        elif len(names) > 1:
            problem = f"{source}: {place} has more than a name and a token; write NAME TOKEN, or TOKEN"
        elif names and not _NAME.fullmatch(names[0]):
            problem = (
                f"{source}: the name in {place} must have 1 to 32 letters, digits and . _ -; write NAME TOKEN, or TOKEN"
            )
        elif names and len(token) < _SHORT <= len(names[0]):
            problem = (
                f"{source}: {place} has a long name and a short token, as if it were TOKEN NAME; write NAME TOKEN, "
                f"with a token of {_SHORT} characters or more"
            )
        elif token in places:
            problem = f"{source}: {place} has the same token as {places[token]}; remove one of them"
        elif name in places:
            problem = f"{source}: {place} has the same name as {places[name]}; give each token its own"
        else:
            problem = _problem(token, f"{source}: {place}")
        places.setdefault(token, place)
        places.setdefault(name, place)
        if problem:
            problems.append(problem)
        else:
            found[token] = _token(name, token)
    # The log would show the token.
    problems += [
        f"{source}: a name is also a token; choose another" for each in found.values() if each.name.encode() in found
    ]
    return list(found.values()), problems


def _token(name: str, token: bytes) -> Token:
    return Token(name, digest_of(token), len(token) < _SHORT)


def _empty(place: str) -> str:
    return f"{place} is empty; it must hold the token"


def _problem(token: bytes, place: str) -> str | None:
    if not token:
        return _empty(place)
    if mistakes.is_placeholder(token.decode("latin-1")):
        return f"{place} has a name that nothing replaced in place of the token; give the token"
    if not all(0x21 <= byte <= 0x7E for byte in token):  # noqa: PLR2004  # the visible ASCII characters
        return f"{place} has characters that an HTTP header cannot hold; use visible ASCII characters without spaces"
    return None
