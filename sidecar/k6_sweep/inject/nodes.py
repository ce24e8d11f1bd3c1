"""Reads YAML as kubectl does, with the place of each value in the text."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml
from yaml import CSafeLoader  # libyaml, which kubectl's parser is a translation of

_TEXTS: Final = {"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value", "tag:yaml.org,2002:merge"}
"""What YAML 1.1 has types for, and Kubernetes takes as texts."""


class InvalidYamlError(Exception):
    """A text is not valid YAML; the message has the problem and its place, not the text, which may be a secret."""


@dataclass(eq=False)
class Node:
    """A value in a text."""

    start: int
    """Index of its first character; that of its first key or dash if it is in block style."""
    end: int
    """Index after its last character; for a block scalar, of the line after it."""
    line: int
    column: int
    flow: bool = False
    """Whether it is written in brackets."""
    style: str | None = None
    """The sign of a scalar's style: a quote, | or >."""
    scalar: Any = None
    items: list["Node"] | None = None
    pairs: list[tuple["Node", "Node"]] | None = None
    anchor: str | None = None
    alias: str | None = None
    """The name, if it is an alias; the anchored value is in `target`."""
    target: "Node | None" = None
    aliases: list[int] = field(default_factory=list)
    """Lines of the aliases of this value."""

    @property
    def real(self) -> "Node":
        """The value itself, or what its alias stands for."""
        return self.target or self

    @property
    def last(self) -> "Node":
        """The value that ends last in it."""
        if self.alias is None and not self.flow:
            if self.pairs:
                return self.pairs[-1][1].last
            if self.items:
                return self.items[-1].last
        return self

    def get(self, key: str) -> tuple["Node", "Node"] | None:
        """Return the pair of this key that is written here, not merged into it."""
        return next((pair for pair in self.pairs or () if pair[0].scalar == key), None)


@dataclass(frozen=True)
class Span:
    """One YAML document of a text."""

    start: int
    end: int
    explicit: bool
    """Whether it begins with a line of three dashes."""
    root: Node | None
    """Its value; None if it is empty."""


def spans(text: str) -> Iterator[Span]:
    """Yield the documents of a text.

    Raises:
        InvalidYamlError: The text is not valid YAML.
    """
    try:
        events: list[Any] = list(yaml.parse(text, Loader=CSafeLoader))
    except yaml.MarkedYAMLError as error:
        raise InvalidYamlError(f"{error.problem or 'an error'}, {_place(error.problem_mark)}") from None
    except yaml.YAMLError as error:
        raise InvalidYamlError(str(getattr(error, "reason", "an error"))) from None
    starts = [number for number, event in enumerate(events) if isinstance(event, yaml.DocumentStartEvent)]
    for position, number in enumerate(starts):
        begin = events[number].start_mark.index if position or events[number].explicit else 0
        end = events[starts[position + 1]].start_mark.index if position + 1 < len(starts) else len(text)
        root = _Composer(events, number + 1, text).value()
        empty = root.scalar is None and root.items is None and root.pairs is None
        yield Span(begin, end, events[number].explicit, None if empty else root)


def _place(mark: Any) -> str:
    return f"in line {mark.line + 1}, column {mark.column + 1}"


class _Composer:
    """Makes the nodes of one document from the parser's events."""

    def __init__(self, events: list[Any], position: int, text: str) -> None:
        self._events = events
        self._position = position
        self._text = text
        self._anchors: dict[str, Node] = {}
        self._scalars: Any = yaml.SafeLoader("")

    def value(self) -> Node:
        event = self._next()
        mark = event.start_mark
        node = Node(mark.index, event.end_mark.index, mark.line, mark.column, anchor=event.anchor)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(node, event)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        if isinstance(event, yaml.ScalarEvent):
            node.style, node.scalar = event.style or None, self._scalar(event)
            return node
        node.flow = bool(event.flow_style)
        if isinstance(event, yaml.SequenceStartEvent):
            self._sequence(node)
        else:
            self._mapping(node)
        return node

    def _next(self) -> Any:
        self._position += 1
        return self._events[self._position - 1]

    def _ends(self, kind: type) -> bool:
        return isinstance(self._events[self._position], kind)

    def _alias(self, node: Node, event: Any) -> Node:
        if event.anchor not in self._anchors:
            raise InvalidYamlError(f"the alias *{event.anchor} has no anchor, {_place(event.start_mark)}")
        node.anchor, node.alias, node.target = None, event.anchor, self._anchors[event.anchor]
        node.target.aliases.append(node.line + 1)
        return node

    def _scalar(self, event: Any) -> Any:
        tag = event.tag
        if tag is None or tag == "!":
            tag = self._scalars.resolve(yaml.ScalarNode, event.value, event.implicit)
        if tag in _TEXTS:
            return event.value
        try:
            return self._scalars.construct_object(yaml.ScalarNode(tag, event.value, event.start_mark))
        except (yaml.YAMLError, ValueError):
            return event.value

    def _sequence(self, node: Node) -> None:
        node.items = []
        while not self._ends(yaml.SequenceEndEvent):
            node.items.append(self.value())
        end = self._next()
        if node.flow:
            node.end = end.end_mark.index
        elif node.items:
            node.start = self._text.rindex("-", 0, node.items[0].start + 1)
            node.column = node.start - self._text.rfind("\n", 0, node.start) - 1
            node.end = node.items[-1].last.end

    def _mapping(self, node: Node) -> None:
        node.pairs = []
        seen = set()
        while not self._ends(yaml.MappingEndEvent):
            mark = self._events[self._position].start_mark
            key, value = self.value(), self.value()
            if key.real.items is not None or key.real.pairs is not None:
                raise InvalidYamlError(f"a key that is no text, {_place(mark)}")
            if key.scalar in seen and key.scalar != "<<":
                raise InvalidYamlError(f"the same key twice, {_place(mark)}")
            seen.add(key.scalar)
            node.pairs.append((key, value))
        end = self._next()
        if node.flow:
            node.end = end.end_mark.index
        elif node.pairs:
            first = node.pairs[0][0]
            node.start, node.line, node.column = first.start, first.line, first.column
            node.end = node.pairs[-1][1].last.end


def data(node: Node | None) -> Any:
    """Return what a node stands for, with its aliases and merge keys resolved; each alias is a copy of its own."""
    if node is None:
        return None
    node = node.real
    if node.items is not None:
        return [data(item) for item in node.items]
    if node.pairs is None:
        return node.scalar
    merged: dict[Any, Any] = {}
    own = {}
    for key, value in node.pairs:
        if key.real.scalar == "<<" and key.style is None:
            sources = value.real.items if value.real.items is not None else [value]
            for source in reversed(sources):
                found = data(source)
                merged.update(found if isinstance(found, dict) else {})
        else:
            own[key.real.scalar] = data(value)
    return {**merged, **own}
