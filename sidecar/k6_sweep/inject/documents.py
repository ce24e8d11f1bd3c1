"""Reads manifests from files, folders and standard input, and writes them with the changes, otherwise as they were."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TextIO

from k6_sweep.inject.cleanup import OUR_LABEL
from k6_sweep.inject.comments import commented
from k6_sweep.inject.nodes import InvalidYamlError, Node, Span, data, spans
from k6_sweep.inject.patch import Edit, applied, kept_at_end
from k6_sweep.inject.render import in_block

_SUFFIXES: Final = {".yaml", ".yml", ".json"}
_KUSTOMIZATIONS: Final = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_SURROGATES: Final = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
"""A character of JSON that YAML takes for two characters."""


class UnreadableError(Exception):
    """A manifest cannot be read; the message names it and the reason."""


@dataclass(eq=False)
class Document:
    """One document of a file."""

    manifest: Any
    """Usually a mapping."""
    span: Span
    root: Node
    """Its value in the text."""
    file: "File"


def is_ours(manifest: Any) -> bool:
    """Whether an earlier inject has created an object for a test."""
    place = manifest
    for step in ("metadata", "labels", OUR_LABEL[0]):
        place = place.get(step) if isinstance(place, dict) else None
    return bool(place == OUR_LABEL[1])


@dataclass(eq=False)
class File:
    """A file, and the changes to it."""

    source: str
    """Its name, or "standard input"."""
    text: str
    is_kustomized: bool = False
    """Whether a kustomization stands beside it, which may change names."""
    edits: list[Edit] = field(default_factory=list)

    @property
    def documents(self) -> list[Document]:
        """The documents that are not empty.

        Raises:
            UnreadableError: The text is not valid YAML.
        """
        try:
            return [Document(data(each.root), each, each.root, self) for each in spans(self.text) if each.root]
        except InvalidYamlError as error:
            raise UnreadableError(f"{self.source}: this is not valid YAML: {error}") from None

    def put_before(self, document: Document, manifests: Sequence[Any], comments: Mapping[str, str]) -> None:
        """Add documents before another."""
        lines = [commented(in_block(each), comments) for each in manifests]
        if not lines:
            return
        start = document.span.start
        text = "".join(f"---\n{each}" for each in lines) if document.span.explicit else "---\n".join([*lines, ""])
        self.edits.append(Edit(start, start, text))

    def without_ours(self) -> "File":
        """Return the file without the documents that an earlier inject has added."""
        edits = []
        drops_dashes = False
        for document in self.documents:
            begin = document.span.start
            if is_ours(document.manifest):
                drops_dashes = drops_dashes or not document.span.explicit
                edits.append(Edit(begin, document.span.end, ""))
            elif drops_dashes:
                edits.append(Edit(begin, self.text.index("\n", begin) + 1, ""))
                drops_dashes = False
        return replace(self, text=applied(self.text, edits))

    def changed(self) -> "File":
        """Return the file with the changes."""
        return replace(self, text=applied(self.text, self.edits), edits=[])


def read(filenames: Sequence[str], standard_input: TextIO) -> list[File]:
    """Return all files, in their order.

    Raises:
        UnreadableError: One of them cannot be read.
    """
    return [
        File(source, "---\n".join(_json_stream(text)) or text, _is_kustomized(source))
        for name in filenames
        for source, text in _texts(name, standard_input)
    ]


def _is_kustomized(source: str) -> bool:
    return any((Path(source).parent / name).is_file() for name in _KUSTOMIZATIONS) and Path(source).is_file()


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
            yield str(file), file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UnreadableError(f"{name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UnreadableError(f"{name}: this is not UTF-8 text") from None


def _json_stream(text: str) -> list[str]:
    """Return the texts of the JSON objects that follow each other in a text; none if it is no JSON."""
    decoder = json.JSONDecoder()
    found, begin = list[str](), 0
    while rest := text[begin:].lstrip():
        try:
            _, end = decoder.raw_decode(rest) if rest.startswith("{") else (None, -1)
        except ValueError:
            end = -1
        if end < 0:
            return []
        begin = len(text) - len(rest) + end
        ending = text[begin:] if not text[begin:].strip() else "\n"
        found.append(_SURROGATES.sub(lambda pair: str(json.loads(f'"{pair[0]}"')), rest[:end]) + ending)
    return found


def write(files: Sequence[File]) -> str:
    """Return the files as one text of YAML documents."""
    texts: list[str] = []
    for position, file in enumerate(files):
        found = file.documents
        text = file.text
        if position + 1 < len(files) and text and not text.endswith("\n"):
            text = applied(text, kept_at_end(text, found[-1].root) if found else []) + "\n"
        if texts and found and not found[0].span.explicit:
            texts.append("---\n")
        texts.append(text)
    return "".join(texts)
