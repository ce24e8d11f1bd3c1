"""Recognises texts that were surely not meant as a glob: quotes, lists, regular expressions, names never replaced."""

import re
from collections.abc import Iterable
from typing import Final

_Signs = tuple[tuple[re.Pattern[str], str], ...]


def _signs(*signs: tuple[str, str]) -> _Signs:
    return tuple((re.compile(sign, re.DOTALL), clause) for sign, clause in signs)


_LIST: Final = "is a list in YAML or JSON; repeat the option for each value"
_NAME: Final = "has a name that nothing replaced, such as $NAME, ${NAME}, $(NAME) or {{ .name }}; give the value"
_REGEX: Final = "is a regular expression or a list for a shell; write a glob: * for any characters, ? for one"
_SEPARATOR: Final = "has a separator between values; repeat the option for each value"
_COMMENT: Final = "has a comment; remove it"
_TEMPLATE: Final = "has a placeholder of a template or an encoding that nothing replaced; give the value"
_LIST_IN_CLASS: Final = (
    "has a class, [...], that looks like a list or a number; a class stands for one character: repeat the option for "
    "each value, or write ? or *"
)
_ESCAPED_STAR: Final = r"has a backslash before its *, which then stands for the character *; write the * alone"

_INVISIBLE: Final = (
    r"\x00-\x1f\x7f-\x9f\u00ad\u061c\u115f\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2064\u2800\u3164\ufe00-\ufe0f\ufeff"
)

_IN_ANY: Final = _signs(
    (r"\A\s|\s\Z", "has a blank at an end; remove it"),
    (r"\A[\"'`“”‘’«„].*[\"'`“”‘’»]\Z", "is in quotes; remove them"),
    (r"\A- |\A\[.*[*:\"'].*\]\Z", _LIST),
    (r"\A(--?\w[\w-]*|SWEEP_\w+)=", "begins with the name of a setting; remove it"),
    (r"\$\{|\$\(|\$[A-Z_][A-Z0-9_]|\{\{-?\s*[.$\w]|%\(\w+\)|<[A-Z_]+>", _NAME),
    (r"<no value>|<nil>|\A(null|nil|none|undefined)\Z", _NAME),
    (r"\s#", _COMMENT),
    (r"\*[,;].", _SEPARATOR),
    (r"\\[A-Za-z0-9]", "has a backslash before a letter or digit, which no glob needs; remove it, or write * or ?"),
)
"""Signs of a mistake in any glob or name."""

_IN_KEEP: Final = _signs(
    (r"\]\+|\]\{\d|\.\+|\(.*\|.*\)|\(\?|\A\(.*\)\Z|\A/.*/\Z|\A\^|\$\Z|(\A|[^\w\])*?])\.\*|\{\w+\.\.\w+\}", _REGEX),
)
"""Signs of a mistake in a glob that protects; its keys may have such characters after a backslash."""

_IN_KEEP_OUTSIDE_CLASSES: Final = _signs(
    (r"[\"'`“”‘’«»„]", "has a quote; remove it, or write a backslash before it"),
    (r"[,;]|\*[|&+]|\s", _SEPARATOR),
    (r"\$[A-Za-z_]|%[A-Z_]+%|<[A-Za-z_-]+>", _NAME),
    (r"\*#", _COMMENT),
    (r"#\{|\{\}|%[sd]\b|%[0-9A-Fa-f]{2}|@[A-Z_]+@|\$\$|\$\d+\Z", _TEMPLATE),
    (r"[!@?+*]\(\w|\*[)}\]>/]\Z", _REGEX),
    (
        r"\A[!#@~%+-]|%\Z",
        "has a character that is not special in a glob (such as !, - or %); remove it, or write a backslash before it",
    ),
    (
        "[" + _INVISIBLE + "＊∗⁎﹡✱⋆✳٭？：∶꞉，；…–—]",
        "has a character that is invisible or looks like another one; correct it, or write a backslash before it",
    ),
    (
        r"\A[^*?\[]*[:/._|-]\Z",
        "ends with a separator and has no *, so it spares only one key; add *",
    ),
)
"""More such signs; in a class such as [,;] these characters are meant."""


_IN_KEEP_WITH_ESCAPES: Final = _signs(
    (r"\A(?:[^*?\[\\]|\\[^*])*\\\*(?:[^*?\[\\]|\\.)*\Z", _ESCAPED_STAR),
    (r"(?<!\\)\*\\[,;|].*\*", _SEPARATOR),
)
"""Such signs in the text with its backslashes: shells, Helm and Markdown need some, but the glob then has them, too."""


def _is_list(members: str) -> bool:
    """Return whether the members of a class were probably meant as words or numbers, and not as single characters."""
    ranges = re.findall(r"(.)-(.)", members)
    single = re.sub(r".-.", "", members)
    return (
        bool(re.search(r"\w\w.*[,|;]|[,|;].*\w\w", members))
        or any(first >= last for first, last in ranges)
        or len(set(single)) < len(single)
        or any(first <= each <= last for first, last in ranges for each in single)
    )


def is_placeholder(text: str) -> bool:
    """Return whether the text is a name of a shell, a template or a manifest that nothing replaced."""
    return any(clause is _NAME and sign.search(text) for sign, clause in _IN_ANY)


def in_pattern(text: str) -> str | None:
    """Return a clause about the sign of a mistake in a pattern that selects; None if there is none."""
    return _first(_without_escapes(text), _IN_ANY)


def in_keep(text: str) -> str | None:
    """Return a clause about the sign of a mistake in a pattern that protects; None if there is none.

    It is stricter than for a pattern that selects: a mistaken --keep loses the keys that it should spare.
    """
    plain = _without_escapes(text)
    return (
        _first(plain, _IN_ANY)
        or _first(plain, _IN_KEEP)
        or _first(text, _IN_KEEP_WITH_ESCAPES)
        or (_LIST_IN_CLASS if any(map(_is_list, re.findall(r"\[\^?([^]]*)\]", plain))) else None)
        or _first(re.sub(r"\[[^]]*\]", "x", plain), _IN_KEEP_OUTSIDE_CLASSES)
    )


def in_name(text: str) -> str | None:
    """Return a clause about the sign of a mistake in a name, such as a key's; None if there is none."""
    return _first(text, _IN_ANY)


def _first(text: str, signs: Iterable[tuple[re.Pattern[str], str]]) -> str | None:
    return next((clause for sign, clause in signs if sign.search(text)), None)


def _without_escapes(text: str) -> str:
    r"""Return the text with a digit for each escaped character, which is meant; \n and \d are no escapes of a glob."""
    return re.sub(r"\\([^A-Za-z0-9])", "0", text)
