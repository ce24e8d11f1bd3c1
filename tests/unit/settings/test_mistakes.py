"""Mistakes: texts that were surely not meant as a glob, and texts that look odd and are meant."""

import pytest

from k6_sweep.settings.mistakes import in_keep, in_name, in_pattern


@pytest.mark.parametrize(
    "text",
    [
        "user:*",
        "user.*",
        "app.user:*",
        "user:{a}*",
        "{queue}:*",
        "user:[0-9]*",
        "user:[^a]*",
        "user[,;]*",
        'user:["]*',
        "user|1*",
        r"order\,user:*",
        r"a\ b*",
        r"user\:",
        r"user:\"*",
        r"\#user:*",
        "user:?",
        "user:1",
        "cost$1:*",
        "(user):*",
        "*",
        "user:**",
        "größe:*",
        "user:\udcff*",
        "user:{a}{b}*",
        r"\-user:*",
        "null:*",
    ],
)
def test_odd_texts_that_are_meant(text: str) -> None:
    """A glob with hash tags, classes, dots, escaped characters or binary bytes has no sign of a mistake."""
    assert in_keep(text) is in_pattern(text) is None


@pytest.mark.parametrize("text", ["b,c", "a b:*", "it's:*", "user|*", "^a:*", "a;b:*", "user:.*", "user:"])
def test_a_pattern_that_selects_is_read_leniently(text: str) -> None:
    """What is only probably a mistake is allowed in a pattern that selects."""
    assert in_pattern(text) is None


@pytest.mark.parametrize(
    "text",
    [
        *("'user:*'", '"user:*"', " user:*", "user:* ", "$PREFIX:*", "${X}:*", "a:$(X):*", "{{ .Values.x }}:*"),
        *("- user:*", '["user:*"]', "[user:*, a:*]", "user:*,queue:*", "user:*;queue:*", "--keep=user:*"),
        *("<no value>", "null", r"user:*\nqueue:*", "SWEEP_KEEP=user:*", "<PREFIX>:*", "%(prefix)s:*", "{{prefix}}:*"),
    ],
)
def test_what_is_surely_a_mistake(text: str) -> None:
    """A sure mistake is found in a pattern that selects, in one that protects, and in a name."""
    assert in_pattern(text)
    assert in_keep(text)
    assert in_name(text)


def test_a_name_may_have_any_character() -> None:
    """A key may have the characters of a glob; a marker that is absent because of them refuses the sweep."""
    assert in_name("test:this-is-[staging]*") is None
