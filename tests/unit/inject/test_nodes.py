"""YAML is read as kubectl reads it, and each value has its place in the text."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from k6_sweep.inject.nodes import InvalidYamlError, Node, data, spans

TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\u2028\u2029\ufeff\x85"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=12,
)


def read(text: str) -> list[Any]:
    return [data(span.root) for span in spans(text)]


@given(VALUES, st.sampled_from([True, False, None]))
def test_what_was_written_is_read(value: Any, flow: bool | None) -> None:
    """Any value comes back from its YAML, in block and in flow style, and from its JSON."""
    assert read(yaml.safe_dump(value, default_flow_style=flow, allow_unicode=True)) == [value]
    assert read(json.dumps(value, ensure_ascii=False)) == [value]


@given(VALUES, st.sampled_from([True, False, None]))
def test_a_place_holds_its_value(value: Any, flow: bool | None) -> None:
    """Each scalar in quotes is at its place in the text, with other characters than ASCII before it."""
    text = "# \U0001f600\n" + yaml.safe_dump({"a": value}, default_flow_style=flow, default_style='"')

    def scalars(node: Node) -> None:
        for each in (*(node.items or ()), *(part for pair in node.pairs or () for part in pair)):
            scalars(each)
        if node.items is None and node.pairs is None and isinstance(node.scalar, str):
            assert text[node.start] == '"'
            assert text[node.end - 1] == '"'

    (span,) = spans(text)
    assert span.root
    scalars(span.root)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("k: |-\n  \n    a\n    b\n", {"k": "\na\nb"}),  # a first line with fewer blanks
        ("a:\t1\t\nb:\t\n  c: d\t# x\n", {"a": 1, "b": {"c": "d"}}),
        ('{"a":"b",\n\t"c":[1,2]}', {"a": "b", "c": [1, 2]}),
        ("a: 2026-11-26\nb: 0444\nc: yes\nd: =\n", {"a": "2026-11-26", "b": 0o444, "c": True, "d": "="}),
        ("a: &x [1]\nb: *x\n", {"a": [1], "b": [1]}),
        ("a: &x {k: 1, l: 2}\nb:\n  <<: *x\n  l: 3\n", {"a": {"k": 1, "l": 2}, "b": {"k": 1, "l": 3}}),
        ("<<: [{a: 1, b: 1}, {a: 2, c: 2}]\n", {"a": 1, "b": 1, "c": 2}),
        ("a: !!str 1\nb: !custom x\n", {"a": "1", "b": "x"}),
    ],
)
def test_what_kubectl_reads(text: str, value: object) -> None:
    """Tabs, short first lines, aliases, merge keys and the types of YAML 1.1 are read as kubectl reads them."""
    assert read(text) == [value]


def test_an_alias_is_a_copy() -> None:
    """A change of one use of an anchor does not change the other use."""
    (value,) = read("a: &x [1]\nb: *x\n")
    value["a"].append(2)
    assert value["b"] == [1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [\n", "did not find expected node content, in line 2, column 1"),
        ("a: 1\nb: 2\na: 3\n", "the same key twice, in line 3, column 1"),
        ("a: *nowhere\n", "the alias *nowhere has no anchor, in line 1, column 4"),
        ("? [a]\n: b\n", "a key that is no text"),
        ("a: \x01", "control characters are not allowed"),
    ],
)
def test_an_error_has_its_place(text: str, said: str) -> None:
    """An error names the problem and its place, and repeats no line, which may be a secret."""
    with pytest.raises(InvalidYamlError, match=r"\w") as error:
        list(spans(text))
    assert said in str(error.value)


def test_documents_and_their_ends() -> None:
    """The documents of a text cover it without a gap, and say whether dashes begin them."""
    text = "# first\na: 1\n---\n# only a comment\n---\nb: 2"
    found = list(spans(text))
    assert "".join(text[each.start : each.end] for each in found) == text
    assert [(each.explicit, data(each.root)) for each in found] == [(False, {"a": 1}), (True, None), (True, {"b": 2})]
