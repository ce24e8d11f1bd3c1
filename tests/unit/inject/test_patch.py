"""A patch changes the lines of what differs, and no other."""

import copy
import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from k6_sweep.inject.nodes import data, spans
from k6_sweep.inject.patch import Patch, SharedError, applied

SCALARS = st.none() | st.booleans() | st.integers(0, 999) | st.sampled_from(["a", "on", "x: y", "# no", "two\nlines\n"])
ITEMS = st.dictionaries(st.sampled_from(["name", "image"]), st.text("abc", min_size=1), min_size=1)
ADDED = st.fixed_dictionaries({"name": st.sampled_from(["k6-sweep", "k6-sweep-check"]), "args": st.just(["watch"])})
PODS = st.dictionaries(
    st.sampled_from(["first", "second", "volumes", "third"]), SCALARS | st.lists(ITEMS, max_size=3), min_size=1
)
STYLES = st.sampled_from([("block", None), ("flow", True), ("long", False), ("json", None)])


def patched(text: str, change: Any, comments: dict[str, str] | None = None) -> str:
    """Return the text after `change` has changed its value in place."""
    (span,) = spans(text)
    assert span.root
    old = data(span.root)
    new = copy.deepcopy(old)
    change(new)
    return applied(text, Patch(text, comments or {}).edits(span.root, old, new))


def read(text: str) -> Any:
    (span,) = spans(text)
    return data(span.root)


def written(value: Any, style: tuple[str, bool | None]) -> str:
    if style[0] == "json":
        return json.dumps(value, indent=2)
    text = yaml.safe_dump(value, default_flow_style=style[1], sort_keys=False)
    return text if style[1] else text.replace("\n", " # the owner's\n", 1) if "\n" in text else text


@given(PODS, st.lists(ADDED, min_size=1, max_size=2), st.integers(0, 1), STYLES, st.booleans())
def test_what_is_added_goes_again(
    pod: dict[str, Any], ours: list[Any], place: int, style: tuple[str, bool | None], ends: bool
) -> None:
    """A text with additions means the new value; without them again, it is the same text byte for byte."""
    text = written({"metadata": {"name": "x"}, "pod": pod}, ("plain", style[1]) if style[0] != "json" else style)
    text = text if ends else text.rstrip("\n")

    def add(value: Any) -> None:
        into = value["pod"]
        into["shareProcessNamespace"] = True
        if into.get("volumes"):
            found = into["volumes"]
            if isinstance(found, list):
                found[:] = [*ours, *found] if place else [*found, *ours]
        value["last"] = {"b": ["c"]}

    def remove(value: Any) -> None:
        into = value["pod"]
        del into["shareProcessNamespace"]
        if isinstance(into.get("volumes"), list):
            into["volumes"] = [each for each in into["volumes"] if each not in ours]
        del value["last"]

    before = read(text)
    wanted = copy.deepcopy(before)
    add(wanted)
    after = patched(text, add)
    assert read(after) == wanted
    if not text.endswith("\n") and not style[1] and style[0] != "json" and text.rstrip("\n").endswith("lines"):
        return  # a literal at the end has got the sign that keeps it without a final newline
    assert patched(after, remove) == text


def test_a_list_that_was_empty_comes_back() -> None:
    """`volumes: []` becomes a list, and comes back with its comment."""
    text = "pod:\n  volumes: [] # none\n  a: 1\n"
    after = patched(text, lambda value: value["pod"]["volumes"].append({"name": "ours"}))
    assert after == "pod:\n  volumes: # none\n    - {name: ours}\n  a: 1\n"
    assert patched(after, lambda value: value["pod"]["volumes"].clear()) == text


def test_an_alias_is_written_out() -> None:
    """A changed alias is written out, and what it stood for stays as it was."""
    text = "theirs: &init\n  - name: wait\nours: *init\n"
    after = patched(text, lambda value: value["ours"].append({"name": "k6-sweep"}))
    assert after == "theirs: &init\n  - name: wait\nours:\n  - {name: wait}\n  - {name: k6-sweep}\n"


def test_what_an_alias_elsewhere_stands_for_is_not_changed() -> None:
    """A change of an anchored value is refused, because it would also change the alias."""
    text = "ours: &pod\n  a: 1\ntheirs:\n  <<: *pod\n"
    with pytest.raises(SharedError, match=r"the alias \*pod in line 4 shares a part of it"):
        patched(text, lambda value: value["ours"].update(b=2))


def test_a_merged_field_that_changes_is_written_out() -> None:
    """A field that comes by a merge key is written out where it changes, and only there."""
    text = "base: &base\n  volumes: [a]\nours:\n  <<: *base\n  b: 1\n"
    after = patched(text, lambda value: value["ours"]["volumes"].append("c"))
    assert read(after) == {"base": {"volumes": ["a"]}, "ours": {"volumes": ["a", "c"], "b": 1}}
    assert after.startswith(text)


def test_comments_stand_at_added_lines_only() -> None:
    """Only lines that are added get a comment."""
    after = patched("a: 1\nb: 2\n", lambda value: value.update(b=3, c=4), {"b: ": "no", "c: ": "why"})
    assert after == "a: 1\nb: 3\nc: 4 # why\n"


def test_a_literal_keeps_its_end() -> None:
    """A literal at the end of a text without a final newline does not get one when lines come after it."""
    after = patched("a:\n  b: |\n    x", lambda value: value["a"].update(c=1) or value.update(d=2))
    assert after == "a:\n  b: |-\n    x\n  c: 1\nd: 2"
    assert patched("b: >2\n    x", lambda value: value.update(d=2)) == "b: >2-\n    x\nd: 2"
    assert patched("b: |+\n  x", lambda value: value.update(d=2)) == "b: |+\n  x\nd: 2"


def test_line_ends_stay() -> None:
    """In a text with the line ends of Windows, added lines have them too."""
    assert (
        patched("a: 1\r\nb:\r\n  - c\r\n", lambda value: value["b"].append("d")) == "a: 1\r\nb:\r\n  - c\r\n  - d\r\n"
    )
