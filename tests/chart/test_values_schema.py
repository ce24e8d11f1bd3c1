"""The chart refuses values with a mistake, and its message names the place and the mistake."""

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from k6_sweep.settings.redis_url import RedisUrl
from tests.chart.helm import BINARIES, HelmRefusedError, Rendered, render, written

GUARD = "a guard is missing, which keeps k6-sweep away from data that is not the test's: set allowedNamespaces, "


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"cleanup": {"guards": {}}}, GUARD),
        (
            {"cleanup": {"enabled": False, "guards": {}, "preserveExisting": True}, "cleanupJob": {"enabled": True}},
            GUARD,
        ),
        ({"cleanup": {"guards": {"allowedNamespaces": [" "]}}}, "which no namespace can match: write a name or a glob"),
        *[
            ({"cleanup": {"keep": [text]}}, "cleanup.keep has an entry that is probably not meant so")
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
        *[
            ({"cleanup": {"keep": [text]}}, "cleanup.keep has an entry that is empty or has a blank at an end")
            for text in ("", " ", "stream:a:* ")
        ],
        ({"cleanup": {"guards": {"allowedNamespaces": [""]}}}, "which no namespace can match: write a name or a glob"),
        (
            {"cleanup": {"guards": {"allowedNamespaces": ["'load-*'"]}}},
            "which no namespace can match: write a name or a glob",
        ),
        (
            {"cleanup": {"guards": {"requireMarker": "$MARKER"}}},
            "cleanup.guards.requireMarker is not the name of a key",
        ),
        *[
            ({"cleanup": {"extraEnv": [{"name": name, "value": "1"}]}}, f"{name}, which k6-sweep does not know")
            for name in ("SWEEP_PATERN", "sweep_pattern", "K6_SWEEP_TIMEOUT")
        ],
        *[
            ({part: {key: [{"name": "A", "value": "1"}, item]}}, f"at '/{part}/{key}/1{place}': {said}")
            for part, key in (("cleanup", "extraEnv"), ("k6", "env"))
            for item, place, said in (
                ({"name": "B", "value": 1}, "/value", "got number, want string"),
                ({"name": "B", "value": True}, "/value", "got boolean, want string"),
                ({"name": "B", "valueFrom": "secret"}, "/valueFrom", "got string, want object"),
                ({"name": 1}, "/name", "got number, want string"),
                ({"value": "1"}, "", "missing property 'name'"),
            )
        ],
        ({"cleanup": {"guards": {}, "preserveExisting": None}}, "missing property 'preserveExisting'"),
        ({"cleanup": {"guards": None}}, "missing property 'guards'"),
        ({"cleanup": {"patterns": None}}, "missing property 'patterns'"),
        ({"k6": {"backoffLimit": None}}, "missing property 'backoffLimit'"),
        ({"cleanup": {"patterns": ["qu*"]}}, "three literal leading characters"),
        ({"cleanup": {"guards": {"maxKey": 5}}}, "'maxKey' not allowed"),
        ({"cleanUp": {"enabled": True}}, "'cleanUp' not allowed"),
        (
            {"cleanup": {"redis": {"url": ""}}},
            "the address of Redis is missing: set cleanup.redis.url to redis://HOST:PORT",
        ),
        *[
            ({"cleanup": {"redis": {"url": url}}}, "cleanup.redis.url is not an address of Redis: write it as")
            for url in (
                *("redis.staging:6379", "redis://", "redis://redis:", "redis://redis:port", "redis://redis/"),
                *("redis://redis?db=1", "redis://a,b", "redis+sentinel://redis:26379", "unix://", "http://redis"),
            )
        ],
        ({"cleanup": {"pushgatewayUrl": "gateway:9091"}}, "cleanup.pushgatewayUrl is not the address of a Pushgateway"),
        (
            {"cleanup": {"redis": {"url": "redis://:hunter2@redis"}}},
            "cleanup.redis.url contains a login, which everybody who can read the Job would see",
        ),
        ({"cleanup": {"patterns": []}}, "the patterns of the test's keys are missing"),
        ({"cleanup": {"preset": "guide"}}, "cleanup.patterns and cleanup.preset (guide) both name what to sweep"),
        ({"cleanup": {"patterns": [], "preset": "guides"}}, "must be one of '', 'guide'"),
        ({"cleanup": {"patterns": ["a,b:*"]}}, 'cleanup.patterns has a comma in "a,b:*"'),
        ({"cleanup": {"timeoutSeconds": "60s"}}, "/cleanup/timeoutSeconds': got string, want integer"),
        ({"cleanup": {"sidecar": {"mode": "nativ"}}}, "'auto', 'native', 'container'"),
        ({"cleanup": {"detector": "signal"}}, "'process', 'kubernetes'"),
        (
            {"k6": {"existingConfigMap": ""}},
            "there is no test to run: set k6.script, k6.existingConfigMap or k6.command",
        ),
        ({"image": {"digest": "latest"}}, "/image/digest"),
    ],
)
def test_a_mistake_is_named(rendered: Callable[..., Rendered], values: dict[str, Any], said: str) -> None:
    """The message names the value and the allowed ones, but never a password."""
    with pytest.raises(HelmRefusedError) as refused:
        rendered(**values)
    assert said in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        *("redis://redis", "rediss://redis.staging:6379/0", "redis://[fe80::1%eth0]:6379", "redis://10.0.0.1:7000/15"),
        *("redis+sentinel://a,b:26379,[::1]/master", "rediss+sentinel://a/the%20master/1", "unix:///run/redis.sock"),
    ],
)
def test_every_address_that_k6_sweep_reads(rendered: Callable[..., Rendered], url: str) -> None:
    """The chart accepts each form of address that k6-sweep itself accepts."""
    assert RedisUrl.parse(url)
    assert rendered(cleanup={"redis": {"url": url}}).test_pod


@pytest.mark.parametrize(
    ("glob", "left_to_k6_sweep"),
    [
        *(("load-*", False), ("load-test", False), ("l?ad-[st]est", False), ("*-t[!a]st", False), ("*[0-9]*", True)),
        *(("shop", False), ("load", False), ("load-?", False), ("load-t[!e]st", False), ("*oad-[a-z]est", True)),
    ],
)
@pytest.mark.parametrize("part", ["cleanup", "cleanupJob", "api"])
def test_the_namespace_is_one_of_the_allowed(
    rendered: Callable[..., Rendered], glob: str, left_to_k6_sweep: bool, part: str
) -> None:
    """A release for another namespace is refused; the template matches the globs as k6-sweep does."""
    values: dict[str, Any] = {
        "k6": {"enabled": part == "cleanup"},
        "cleanupJob": {"enabled": part == "cleanupJob"},
        "api": {"enabled": part == "api", "existingSecret": "token"},
        "cleanup": {"enabled": part == "cleanup", "guards": {"allowedNamespaces": ["shop-*", glob]}},
    }
    if left_to_k6_sweep or fnmatchcase("load-test", glob):
        assert rendered(**values).manifests
    else:
        with pytest.raises(
            HelmRefusedError,
            match=re.escape(
                f"for the namespace load-test, but cleanup.guards.allowedNamespaces allows only shop-*, {glob}:"
            ),
        ):
            rendered(**values)


@pytest.mark.parametrize("binary", BINARIES)
def test_all_mistakes_at_once(binary: str, tmp_path: Path) -> None:
    """Both Helms name every mistake in one message."""
    values = {"k6": {"backoffLimit": -1}, "cleanup": {"enabled": "perhaps", "when": "never"}, "typo": 1}
    with pytest.raises(HelmRefusedError) as refused:
        render(written(tmp_path, values), binary=binary)
    for place in ("/k6/backoffLimit", "/cleanup/enabled", "/cleanup/when", "typo"):
        assert place in str(refused.value)
    values = {"cleanup": {"enabled": True, "redis": {"url": "redis"}, "guards": {"allowedNamespaces": ["A"]}}}
    with pytest.raises(HelmRefusedError) as refused:
        render(written(tmp_path, values), binary=binary)
    assert str(refused.value).count("\n- ") == 4


@pytest.mark.parametrize(
    "guards", [{"allowedNamespaces": ["load-*"]}, {"requireMarker": "marker"}, {"maxKeys": 1}, {"none": True}]
)
def test_any_guard_will_do(rendered: Callable[..., Rendered], guards: dict[str, object]) -> None:
    """Each guard is enough, and so is the explicit choice of none."""
    assert rendered(cleanup={"guards": guards}).test_pod
    assert rendered(cleanup={"guards": {}, "preserveExisting": True}).test_pod


def test_every_form_of_a_variable(rendered: Callable[..., Rendered]) -> None:
    """A variable may have a value, a source, or neither: then it is empty."""
    source = {"secretKeyRef": {"name": "secret", "key": "word"}}
    env = [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": source}, {"name": "C"}]
    pod = rendered(cleanup={"extraEnv": env}, k6={"env": env}).test_pod
    (k6,) = pod["containers"]
    (sidecar,) = pod["initContainers"]
    assert k6["env"] == sidecar["env"][-3:] == env
