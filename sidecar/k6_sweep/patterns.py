r"""Redis's own glob matching, over bytes.

Source: https://redis.io/docs/latest/commands/keys/ for the syntax; the corner cases (a `]` right after `[` closes the
class, a reversed range is swapped, an unclosed class ends with the pattern, `\` at the very end is a backslash)
follow the server's MATCH, and the tests compare the two.
"""

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

MIN_LITERAL_START: Final = 3
"""A pattern with fewer literal leading characters is too broad."""

_LAST_ASCII: Final = 127
_STAR, _ANY, _OPEN, _CLOSE, _CARET, _ESCAPE, _DASH = (ord(char) for char in "*?[]^\\-")


@dataclass(frozen=True)
class Token:
    """One element of a pattern: a star, or the set of byte values that it accepts for one byte."""

    star: bool = False
    accepts: frozenset[int] = frozenset()

    @property
    def literal(self) -> int | None:
        """The one accepted byte value; None if there are several or none."""
        return next(iter(self.accepts)) if len(self.accepts) == 1 else None


_EVERY_BYTE: Final = frozenset(range(256))


def _signed(byte: int) -> int:
    """Return the value of a byte on an x86 server, where `char` is signed: bytes above 127 sort before the others."""
    return byte - 256 if byte > _LAST_ASCII else byte


def _class(glob: bytes, at: int) -> tuple[Token, int, bool]:
    """Parse the class whose content starts at `at`; return its token, the next position, and whether `]` closed it."""
    negated = glob[at : at + 1] == b"^"
    at += negated
    members: set[int] = set()
    while at < len(glob):
        if glob[at] == _ESCAPE and at + 1 < len(glob):
            members.add(glob[at + 1])
            at += 2
        elif glob[at] == _CLOSE:
            break
        elif at + 2 < len(glob) and glob[at + 1] == _DASH:
            low, high = sorted((_signed(glob[at]), _signed(glob[at + 2])))
            members.update(value % 256 for value in range(low, high + 1))
            at += 3
        else:
            members.add(glob[at])
            at += 1
    closed = at < len(glob)
    return Token(accepts=_EVERY_BYTE - members if negated else frozenset(members)), at + closed, closed


def _ranges(content: bytes) -> Iterator[tuple[int, int]]:
    """Yield both ends of each range such as `a-z` in a class's content."""
    at = 0
    while at < len(content):
        if content[at] == _ESCAPE:
            at += 2
        elif at + 2 < len(content) and content[at + 1] == _DASH:
            yield content[at], content[at + 2]
            at += 3
        else:
            at += 1


def _tokens(glob: bytes) -> Iterator[tuple[Token, bool]]:
    """Yield each token of the glob, and whether it is written as plain text (not as a class)."""
    at = 0
    while at < len(glob):
        char = glob[at]
        at += 1
        if char == _STAR:
            yield Token(star=True), False
        elif char == _ANY:
            yield Token(accepts=_EVERY_BYTE), False
        elif char == _OPEN:
            token, at, _ = _class(glob, at)
            yield token, False
        else:
            if char == _ESCAPE and at < len(glob):
                char = glob[at]
                at += 1
            yield Token(accepts=frozenset({char})), True


def _byte_class(accepts: frozenset[int]) -> bytes:
    if accepts == _EVERY_BYTE:
        return b"."
    if not accepts:
        return b"(?!)"
    if len(accepts) == 1:
        return re.escape(bytes(accepts))
    return b"[" + b"".join(rb"\x%02x" % value for value in sorted(accepts)) + b"]"


@dataclass(frozen=True)
class Pattern:
    """A glob as the user wrote it, with the properties that need no server."""

    text: str

    @classmethod
    def exactly(cls, key: str) -> "Pattern":
        """Return the pattern that matches this key and no other."""
        return cls("".join(f"\\{char}" for char in key))

    @functools.cached_property
    def raw(self) -> bytes:
        """The glob's bytes (surrogates carry bytes of the command line that are not UTF-8)."""
        return self.text.encode("utf-8", "surrogateescape")

    @functools.cached_property
    def tokens(self) -> tuple[Token, ...]:
        """The elements in order."""
        return tuple(token for token, _ in _tokens(self.raw))

    @functools.cached_property
    def literal_start(self) -> bytes:
        """The bytes at the start of every match, as far as the glob has them as plain text."""
        start = bytearray()
        for token, plain in _tokens(self.raw):
            if not plain or token.literal is None:
                break
            start.append(token.literal)
        return bytes(start)

    @functools.cached_property
    def exact(self) -> bool:
        """Whether only one key can match."""
        return len(self.literal_start) == len(self.tokens)

    @property
    def is_prefix(self) -> bool:
        """Whether it matches exactly the keys that begin with its literal start."""
        return self.tokens[-1:] == (Token(star=True),) and len(self.literal_start) == len(self.tokens) - 1

    @property
    def is_broad(self) -> bool:
        """Whether fewer than MIN_LITERAL_START literal characters lead it."""
        return len(self.literal_start.decode("utf-8", "replace")) < MIN_LITERAL_START

    @property
    def mistake(self) -> str | None:
        """The mistake that changes its meaning, as a clause; None for a sound pattern."""
        if not self.raw:
            return "is empty"
        at = 0
        while at < len(self.raw):
            if self.raw[at] == _ESCAPE:
                if at + 1 == len(self.raw):
                    return "ends with a lone \\ (write \\\\ to match the character \\)"
                at += 2
            elif self.raw[at] == _OPEN:
                start = at
                _, at, closed = _class(self.raw, at + 1)
                if self.raw[start + 1 : start + 2] == b"!" and at - start > len("[!]"):
                    return "has a class that begins with !, which means nothing to Redis; write [^ for not"
                if not closed:
                    return "has a [ without a ] (write \\[ to match the character [)"
                if any((low > _LAST_ASCII) != (high > _LAST_ASCII) for low, high in _ranges(self.raw[start + 1 : at])):
                    return "has a range from ASCII to a byte above 127, which x86 and ARM servers read differently"
            else:
                at += 1
        return None

    @functools.cached_property
    def regex(self) -> bytes:
        """A regular expression for the same keys; each star costs time that is linear in the key.

        Between two stars the leftmost fit is as good as any other, so an atomic group keeps it: a pattern like
        `a*a*a*a*b` cannot slow the sweep down.
        """
        if set(self.raw) == {_STAR}:  # MATCH * lists the empty key, MATCH ** does not
            return rb"(?s:.*)\Z" if len(self.raw) == 1 else rb"(?s:.+)\Z"
        runs: list[list[bytes]] = [[]]
        for token in self.tokens:
            if token.star:
                runs.append([])
            else:
                runs[-1].append(_byte_class(token.accepts))
        first, *rest = (b"".join(run) for run in runs)
        if not rest:
            return b"(?s:" + first + rb"\Z)"
        *middle, last = rest
        body = first + b"".join(b"(?>.*?" + run + b")" for run in middle if run)
        return b"(?s:" + body + (rb".*" + last + rb"\Z" if last else b"") + b")"

    def is_within(self, other: "Pattern") -> bool:
        """Return True only if it is proven that the other matches every key that this one matches.

        An element of the other must cover each of this pattern's: a star covers anything, a set of bytes covers its
        subsets. A pattern may be within the other although this returns False.
        """
        if self.raw == b"*":  # it matches the empty key, which ** does not
            return other.raw == b"*"
        covered = [True] + [False] * len(self.tokens)
        for theirs in other.tokens:
            before, covered = covered, [theirs.star and covered[0]]
            for ours, diagonal, above in zip(self.tokens, before, before[1:], strict=False):
                if theirs.star:
                    covered.append(above or covered[-1])
                else:
                    covered.append(diagonal and not ours.star and ours.accepts <= theirs.accepts)
        return covered[-1]

    def overlaps(self, other: "Pattern") -> bool:
        """Return False only if it is proven that no key matches both."""
        if not all(token.star or token.accepts for token in (*self.tokens, *other.tokens)):
            return False  # a class such as [] matches nothing
        # For each number of the other's elements: whether some text matches these and our elements so far.
        reach = [all(token.star for token in other.tokens[:count]) for count in range(len(other.tokens) + 1)]
        for ours in self.tokens:
            before, reach = reach, [ours.star and reach[0]]
            for theirs, diagonal, above in zip(other.tokens, before, before[1:], strict=False):
                if ours.star or theirs.star:
                    reach.append(above or reach[-1])
                else:
                    reach.append(diagonal and not ours.accepts.isdisjoint(theirs.accepts))
        return reach[-1]

    def sample(self, fill: bytes) -> bytes | None:
        """Return a key that the pattern matches, with `fill` for its first star; None without a star or any match."""
        if not any(token.star for token in self.tokens):
            return None
        key = bytearray()
        for token in self.tokens:
            if token.star:
                key += fill
                fill = b""
            elif token.accepts:
                key.append(_an_ordinary_byte(token.accepts))
            else:
                return None
        return bytes(key)


def _an_ordinary_byte(accepts: frozenset[int]) -> int:
    """Return an accepted byte, if possible a letter or digit; `{` comes last, because it could open a hash tag."""
    return min(accepts, key=lambda value: (not bytes([value]).isalnum(), value == ord("{"), value))
