"""Changes a value in a text: only the lines of what differs; all others stay byte for byte."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from k6_sweep.inject.comments import commented
from k6_sweep.inject.nodes import Node
from k6_sweep.inject.render import in_block, in_flow


class SharedError(Exception):
    """A change would also change other parts of the text; the message names the alias and its lines."""


@dataclass(frozen=True)
class Edit:
    """A piece of a text, and what stands in its place."""

    start: int
    end: int
    text: str


def applied(text: str, edits: Iterable[Edit]) -> str:
    """Return the text with the edits, each once; of two at one place, the first comes first."""
    pieces, done = [], 0
    newline = "\r\n" if "\r\n" in text else "\n"
    for edit in sorted(dict.fromkeys(edits), key=lambda each: each.start):
        pieces += [text[done : edit.start], edit.text.replace("\n", newline)]
        done = max(done, edit.end)
    result = "".join((*pieces, text[done:]))
    # A text without a final newline has none either when its last lines are removed.
    return result if text.endswith("\n") else result.removesuffix(newline)


def kept_at_end(text: str, node: Node) -> Iterator[Edit]:
    """Yield the change that keeps a literal at the text's end without final newline as it is when lines follow."""
    last = node.last
    if last.style in {"|", ">"} and last.end >= len(text) and not text.endswith("\n"):
        header = re.compile(r"[|>]\d?").search(text, last.start)
        if header and text[header.end() : header.end() + 1] not in {"-", "+"}:
            yield Edit(header.end(), header.end(), "-")


@dataclass(frozen=True)
class Patch:
    """A text, and the comments of the lines that are added to it."""

    text: str
    comments: Mapping[str, str]
    """By the beginning of the line."""

    def edits(self, node: Node, old: Any, new: Any) -> Iterator[Edit]:
        """Yield the edits that make a mapping or a list of the text, now `old`, into `new`.

        Raises:
            SharedError: An alias elsewhere stands for a part that would change.
        """
        if old == new:
            return
        if node.aliases:
            lines = ", ".join(map(str, node.aliases))
            raise SharedError(f"the alias *{node.anchor} in line {lines} shares a part of it")
        if node.pairs is not None and isinstance(new, dict):
            yield from self._mapping(node, old, new)
        elif node.items is not None and isinstance(new, list):
            yield from self._list(node, old, new)
        else:
            yield Edit(node.start, node.end, in_flow(new))

    def _mapping(self, node: Node, old: Mapping[Any, Any], new: Mapping[Any, Any]) -> Iterator[Edit]:
        for key, value in node.pairs or ():
            name = key.real.scalar
            if name in new and name in old and old[name] != new[name]:
                yield from self._pair(node, key, value, old[name], new[name])
        lost = old.keys() - new.keys()
        gone = {position for position, (key, _) in enumerate(node.pairs or ()) if key.real.scalar in lost}
        yield from self._removed(node, [pair[0].start for pair in node.pairs or ()], gone)
        written = {key.real.scalar for key, _ in node.pairs or ()}
        # A changed field that was only merged into this mapping is written out in it.
        added = {name: new[name] for name in new if name not in written and (name not in old or old[name] != new[name])}
        if node.flow:
            yield from self._into_flow(node, [f"{_key(name, node)}: {in_flow(value)}" for name, value in added.items()])
            return
        for name, value in added.items():
            yield from self._below(node, self._lines({name: value}, node.column))

    def _pair(self, parent: Node, key: Node, value: Node, old: Any, new: Any) -> Iterator[Edit]:
        is_block = value.alias is None and not value.flow and bool(value.items or value.pairs)
        if parent.flow and value.alias is not None:
            yield Edit(value.start, value.end, in_flow(new))
        elif isinstance(new, (dict, list)) and not new and is_block:
            # `volumes: []` comes back in the place where it was.
            colon = self.text.index(":", key.end) + 1
            yield Edit(colon, colon, f" {in_flow(new)}")
            begin = self._line_start(value.start)
            yield Edit(begin, self._line_end(value), "")
        elif not parent.flow and isinstance(new, (dict, list)) and new and (value.alias is not None or not old):
            colon = self.text.index(":", key.end) + 1
            yield Edit(colon, value.end, "")
            step = 0 if isinstance(new, list) and self._flat(parent) else 2
            yield from self._below(value, self._lines(new, parent.column + step))
        else:
            yield from self.edits(value, old, new)

    def _list(self, node: Node, old: list[Any], new: list[Any]) -> Iterator[Edit]:
        items = node.items or []
        if len(old) == len(new):
            for item, former, latter in zip(items, old, new, strict=True):
                if item.alias is not None and former != latter:
                    yield Edit(item.start, item.end, in_flow(latter))
                else:
                    yield from self.edits(item, former, latter)
            return
        before, after = ([json.dumps(each) for each in side] for side in (old, new))
        gone: set[int] = set()
        for _, begin, end, first, last in SequenceMatcher(a=before, b=after, autojunk=False).get_opcodes():
            if before[begin:end] == after[first:last]:
                continue
            gone |= set(range(begin, end))
            if not (added := new[first:last]):
                continue
            if node.flow:
                yield from self._into_flow(node, list(map(in_flow, added)), begin)
            elif begin < len(items):
                yield Edit(at := self._line_start(self._dash(items[begin])), at, self._lines(added, node.column))
            else:
                yield from self._below(node, self._lines(added, node.column))
        yield from self._removed(node, [item.start if node.flow else self._dash(item) for item in items], gone)

    def _removed(self, node: Node, starts: list[int], gone: set[int]) -> Iterator[Edit]:
        """Yield the edits that remove entries of a mapping or list, which begin at `starts`."""
        entries = node.items if node.items is not None else [value for _, value in node.pairs or ()]
        for position in sorted(gone):
            entry = (entries or [])[position]
            if not node.flow:
                begin, end = self._line_start(starts[position]), self._line_end(entry)
                yield Edit(begin, end, "")
            elif position:
                yield Edit((entries or [])[position - 1].end, entry.end, "")
            else:
                following = [start for number, start in enumerate(starts) if number not in gone]
                yield Edit(starts[0], following[0] if following else entry.end, "")

    def _into_flow(self, node: Node, added: list[str], position: int | None = None) -> Iterator[Edit]:
        if not added:
            return
        text = ", ".join(added)
        entries = node.items if node.items is not None else [value for _, value in node.pairs or ()]
        if not entries:
            at = self.text.index("[" if node.items is not None else "{", node.start) + 1
            yield Edit(at, at, text)
        elif position == 0:
            yield Edit(entries[0].start, entries[0].start, f"{text}, ")
        else:
            end = entries[-1 if position is None else position - 1].end
            yield Edit(end, end, f", {text}")

    def _below(self, node: Node, lines: str) -> Iterator[Edit]:
        """Yield the edits that add lines after the last line of a value."""
        end = self._line_end(node)
        if end and self.text[end - 1] != "\n":
            yield from kept_at_end(self.text, node)
            lines = "\n" + lines.removesuffix("\n")
        yield Edit(end, end, lines)

    def _line_end(self, node: Node) -> int:
        end = node.last.end
        if node.last.style in {"|", ">"} and end and self.text[end - 1] == "\n":
            return end
        found = self.text.find("\n", end)
        return len(self.text) if found < 0 else found + 1

    def _line_start(self, index: int) -> int:
        return self.text.rfind("\n", 0, index) + 1

    def _dash(self, item: Node) -> int:
        return self.text.rindex("-", 0, item.start + 1)

    def _flat(self, parent: Node) -> bool:
        """Whether the lists of a mapping begin at the column of their keys."""
        lists = [value for _, value in parent.pairs or () if value.items and not value.flow]
        return bool(lists) and lists[0].column == parent.column

    def _lines(self, value: Any, column: int) -> str:
        return commented(in_block(value, column), self.comments)


def _key(name: str, node: Node) -> str:
    """Return a key for a mapping in braces: without quotes, as in YAML, if the others have none."""
    return name if node.pairs and node.pairs[0][0].style is None else in_flow(name)
