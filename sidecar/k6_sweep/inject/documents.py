"""Reads manifests from files, folders and standard input, and keeps their comments when it writes them."""

import contextlib
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString

from k6_sweep.inject.cleanup import OUR_LABEL

_SUFFIXES: Final = {".yaml", ".yml", ".json"}
_FIRST_LIST: Final = re.compile(r"^(?P<key> *)[^\s#-].*:[ \t]*\n(?: *#.*\n)*(?P<list> *)- ", re.MULTILINE)
"""The first list of a file: ruamel.yaml writes all lists with one indentation, so they get that of this one."""
_USUAL_OFFSET: Final = 2
_SHORT: Final = 90
_NO_TEXT_TO_OTHERS: Final = re.compile(r"y|n|yes|no|on|off", re.IGNORECASE)
"""The words that YAML 1.1, which Kubernetes reads, parses as booleans."""
_SPOILT_BY_SHORTNESS: Final = re.compile(r'\\n|\[{"[^"]*": [{[]')
"""Values that flow style would spoil: multi-line texts, and lists of mappings with one key, which lose braces."""
_NO_WRAPPING: Final = 1 << 20
"""Columns: by default, ruamel.yaml folds long lines at 80, which would change lines that inject does not touch."""


class UnreadableError(Exception):
    """A manifest cannot be read; the message names it and the reason."""


@dataclass(frozen=True)
class Document:
    """One YAML document of a file."""

    source: str
    """The file's name, or "standard input"."""
    manifest: Any
    """Usually a mapping."""
    offset: int
    """The indentation of its lists."""

    @property
    def is_ours(self) -> bool:
        """Whether an earlier inject has created it for a test."""
        place = self.manifest
        for step in ("metadata", "labels", OUR_LABEL[0]):
            place = place.get(step) if isinstance(place, dict) else None
        return bool(place == OUR_LABEL[1])


def read(filenames: Sequence[str], standard_input: TextIO) -> list[Document]:
    """Return all documents of these files, in their order.

    Raises:
        UnreadableError: One of them cannot be read.
    """
    return [
        document
        for name in filenames
        for source, text in _texts(name, standard_input)
        for document in _parse(source, text)
    ]


def _texts(name: str, standard_input: TextIO) -> Iterator[tuple[str, str]]:
    try:
        if name == "-":
            yield "standard input", standard_input.read()
            return
        path = Path(name)
        files = (
            sorted(each for each in path.iterdir() if each.suffix in _SUFFIXES and each.is_file())
            if path.is_dir()
            else [path]
        )
        if not files:
            raise UnreadableError(f"{name}: this folder has no .yaml, .yml or .json file")
        for file in files:
            yield str(file), file.read_text(encoding="utf-8")
    except OSError as error:
        raise UnreadableError(f"{name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UnreadableError(f"{name}: this is not UTF-8 text") from None


def _parse(source: str, text: str) -> Iterator[Document]:
    # JSON is not read as YAML, which takes a surrogate pair (\ud83d\ude00) for two characters.
    if text.lstrip().startswith("{"):
        with contextlib.suppress(ValueError):  # it may be YAML
            yield Document(source, json.loads(text), _USUAL_OFFSET)
            return
    first = _FIRST_LIST.search(text)
    offset = len(first["list"]) - len(first["key"]) if first else _USUAL_OFFSET
    try:
        for manifest in _yaml(offset).load_all(text):
            if manifest is not None:
                yield Document(source, manifest, offset)
    except YAMLError as error:
        raise UnreadableError(f"{source}: this is not valid YAML{_place(error)}") from None


def _place(error: YAMLError) -> str:
    """Return where a parser found an error, and which; not its whole text, which repeats lines: they may be secrets."""
    if not isinstance(error, MarkedYAMLError) or error.problem_mark is None:
        return ""
    what = "the same key twice" if isinstance(error, DuplicateKeyError) else error.problem or "an error"
    return f": {what}, in line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}"


def write(documents: Sequence[Document]) -> str:
    """Return the documents as YAML."""
    text = io.StringIO()
    for position, document in enumerate(documents):
        if position:
            text.write("---\n")
        _yaml(document.offset).dump(document.manifest, text)
    return text.getvalue()


def in_short(value: Any) -> Any:
    """Return the same value, with short parts on one line and multi-line texts as blocks."""
    if isinstance(value, str):
        if _NO_TEXT_TO_OTHERS.fullmatch(value):
            return DoubleQuotedScalarString(value)
        return LiteralScalarString(value) if "\n" in value else value
    if not isinstance(value, (dict, list)):
        return value
    made: CommentedMap | CommentedSeq
    if isinstance(value, dict):
        made = CommentedMap((key, in_short(each)) for key, each in value.items())
    else:
        made = CommentedSeq(map(in_short, value))
    as_json = json.dumps(value)
    if len(as_json) <= _SHORT and not _SPOILT_BY_SHORTNESS.search(as_json):
        made.fa.set_flow_style()
    return made


def _yaml(offset: int) -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = _NO_WRAPPING
    yaml.indent(mapping=2, sequence=2 + offset, offset=offset)
    return yaml
