"""The chart refuses values with a mistake, and its message names the place and the mistake."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.chart.helm import BINARIES, HelmRefusedError, Rendered, render, written

GUARD = "a guard: set allowedNamespaces, requireMarker or maxKeys"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"cleanup": {"guards": {}}}, GUARD),
        (
            {"cleanup": {"enabled": False, "guards": {}, "preserveExisting": True}, "cleanupJob": {"enabled": True}},
            GUARD,
        ),
        ({"cleanup": {"guards": {"allowedNamespaces": [" "]}}}, "/cleanup/guards/allowedNamespaces/0"),
        *[
            ({"cleanup": {"keep": [text]}}, "patterns to spare without quotes, blanks, separators")
            for text in (
                "'a:*'",
                "stream:a b:*",
                "a:*;b:*",
                "^stream:a",
                "stream:a$",
                "$PREFIX:*",
                "{{ .x }}:*",
                "a:.*",
            )
        ],
        *[({"cleanup": {"keep": [text]}}, "/cleanup/keep/0") for text in ("", " ", "stream:a:* ")],
        ({"cleanup": {"guards": {"allowedNamespaces": [""]}}}, "/cleanup/guards/allowedNamespaces/0"),
        ({"cleanup": {"guards": {"allowedNamespaces": ["'load-*'"]}}}, "/cleanup/guards/allowedNamespaces/0"),
        ({"cleanup": {"guards": {"requireMarker": "$MARKER"}}}, "/cleanup/guards/requireMarker"),
        ({"cleanup": {"guards": {}, "preserveExisting": None}}, "missing property 'preserveExisting'"),
        ({"cleanup": {"guards": None}}, "missing property 'guards'"),
        ({"cleanup": {"patterns": None}}, "missing property 'patterns'"),
        ({"k6": {"backoffLimit": None}}, "missing property 'backoffLimit'"),
        ({"cleanup": {"patterns": ["qu*"]}}, "three literal leading characters"),
        ({"cleanup": {"guards": {"maxKey": 5}}}, "'maxKey' not allowed"),
        ({"cleanUp": {"enabled": True}}, "'cleanUp' not allowed"),
        ({"cleanup": {"redis": {"url": ""}}}, "an address of Redis: set cleanup.redis.url to redis://HOST:PORT"),
        ({"cleanup": {"redis": {"url": "redis.staging:6379"}}}, "/cleanup/redis/url"),
        (
            {"cleanup": {"redis": {"url": "redis://:hunter2@redis"}}},
            "a url without user and password: set cleanup.redis.username",
        ),
        ({"cleanup": {"patterns": []}}, "the patterns of the test's keys are missing"),
        ({"cleanup": {"preset": "guide"}}, "cleanup.patterns and cleanup.preset (guide) both name what to sweep"),
        ({"cleanup": {"patterns": [], "preset": "guides"}}, "must be one of '', 'guide'"),
        ({"cleanup": {"patterns": ["a,b:*"]}}, "patterns without commas"),
        ({"cleanup": {"timeoutSeconds": "60s"}}, "/cleanup/timeoutSeconds': got string, want integer"),
        ({"cleanup": {"sidecar": {"mode": "nativ"}}}, "'auto', 'native', 'container'"),
        ({"cleanup": {"detector": "signal"}}, "'process', 'kubernetes'"),
        ({"k6": {"existingConfigMap": ""}}, "a test: set k6.script, k6.existingConfigMap or k6.command"),
        ({"image": {"digest": "latest"}}, "/image/digest"),
    ],
)
def test_a_mistake_is_named(rendered: Callable[..., Rendered], values: dict[str, Any], said: str) -> None:
    """The message names the value and the allowed ones, but never a password."""
    with pytest.raises(HelmRefusedError) as refused:
        rendered(**values)
    assert said in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("binary", BINARIES)
def test_all_mistakes_at_once(binary: str, tmp_path: Path) -> None:
    """Both Helms name every mistake in one message."""
    values = {"k6": {"backoffLimit": -1}, "cleanup": {"enabled": "perhaps", "when": "never"}, "typo": 1}
    with pytest.raises(HelmRefusedError) as refused:
        render(written(tmp_path, values), binary=binary)
    for place in ("/k6/backoffLimit", "/cleanup/enabled", "/cleanup/when", "typo"):
        assert place in str(refused.value)


@pytest.mark.parametrize(
    "guards", [{"allowedNamespaces": ["load-*"]}, {"requireMarker": "marker"}, {"maxKeys": 1}, {"none": True}]
)
def test_any_guard_will_do(rendered: Callable[..., Rendered], guards: dict[str, object]) -> None:
    """Each guard is enough, and so is the explicit choice of none."""
    assert rendered(cleanup={"guards": guards}).test_pod
    assert rendered(cleanup={"guards": {}, "preserveExisting": True}).test_pod
