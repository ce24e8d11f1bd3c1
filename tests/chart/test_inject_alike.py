"""`k6-sweep inject` adds the same to a Job as the chart's toggle."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from k6_sweep.inject.command import inject
from tests.chart.helm import CHART, Manifest, env_of, manifests, render, written

BASIS = ("--redis-url", "redis://redis.staging:6379")
WAYS: dict[str, tuple[str, ...]] = {
    "guide": (
        *("--redis-url", "rediss://redis.staging:6379", "--redis-password-secret", "redis-auth/auth-token"),
        *("--allowed-namespace", "load-*"),
        *(
            word
            for kind in ("stream", "dedupe", "waiting_token", "reservation_token", "idempotency", "ratelimit", "queue")
            for word in ("--pattern", f"{kind}:*")
        ),
    ),
    "ordinary": (
        *("--redis-url", "rediss://redis.staging:6379", "--redis-tls-insecure"),
        *("--kube-version", "1.28", "--max-keys", "5000000"),
        *("--pattern", "stream:*", "--pattern", "dedupe:*", "--pattern", "waiting_token:*"),
        *("--pattern", "reservation_token:*", "--pattern", "idempotency:*"),
        *("--pattern", "ratelimit:*", "--pattern", "queue:*"),
    ),
    "fail-job": (
        *("--redis-url", "rediss://redis.staging:6379", "--redis-ca-secret", "authority/root.pem"),
        *("--fail-job", "--no-guard", "--pattern", "test:*"),
    ),
    "preserve-existing": (
        *BASIS,
        *("--preflight", "--only-new", "--redis-password-secret", "redis"),
        *("--pattern", "stream:*", "--pattern", "queue:*"),
    ),
    "kubernetes-detector": (
        *BASIS,
        *("--detector", "kubernetes", "--emit-event", "--when", "success"),
        *("--pattern", "test:*", "--require-marker", "staging:marker"),
    ),
    "distributed": (
        *("--redis-url", "rediss://redis.staging:6379", "--redis-password-secret", "redis", "--emit-event"),
        *("--pattern", "stream:*", "--pattern", "queue:*", "--allowed-namespace", "load-*"),
    ),
    "test-run": (*BASIS, "--pattern", "stream:*", "--pattern", "queue:*", "--max-keys", "1000000"),
    "everything": (
        *("--redis-url", "rediss://clustercfg.staging.abcdef.euw1.cache.amazonaws.com:6379"),
        *("--redis-username", "k6-sweep", "--redis-password-secret", "redis", "--k6-shutdown", "20"),
        *("--redis-ca-config-map", "authorities/bundle.pem", "--redis-client-secret", "redis-client"),
        *("--redis-tls-server-name", "redis.staging"),
        *("--pattern", "stream:*", "--pattern", "queue:{a}*", "--keep", "queue:{a}:keep*"),
        *("--allowed-namespace", "load-*", "--allowed-namespace", "staging", "--require-marker", "staging:marker"),
        *("--max-keys", "5000000", "--preflight", "--only-new", "--dry-run", "--when", "failure"),
        *("--timeout", "120", "--max-rate", "50000", "--pushgateway-url", "http://pushgateway.monitoring:9091"),
    ),
}
CHARTS_OWN: dict[str, Any] = {  # inject has no option for these values
    "everything": {
        "image": {"registry": "registry.example", "repository": "k6-sweep", "tag": "", "digest": ""}
        | {"pullPolicy": "IfNotPresent"},
        "cleanup": {"extraEnv": [], "extraVolumes": [], "extraVolumeMounts": []},
        "networkPolicy": {"enabled": False},
    },
    "distributed": {"networkPolicy": {"enabled": False}},
    "kubernetes-detector": {},
}


def injected(found: Sequence[Manifest], options: Sequence[str]) -> list[Manifest]:
    text = io.StringIO()
    YAML(typ="safe").dump_all(found, text)
    image = "registry.example/k6-sweep:1.0.0"
    return manifests(inject(["-f", "-", "--image", image, *options], {}, io.StringIO(text.getvalue())).text)


def comparable(found: Sequence[Manifest]) -> dict[tuple[str, str], Any]:
    """Return the manifests by kind and name, without labels, annotations and the order of variables."""
    by_name = {}
    for manifest in found:
        if manifest["metadata"].get("annotations", {}).get("helm.sh/hook") == "test":
            continue
        plain = _plain(manifest)
        del plain["metadata"]
        by_name[manifest["kind"], manifest["metadata"]["name"]] = plain
    return by_name


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    plain = {key: _plain(each) for key, each in value.items()}
    if "env" in plain and "image" in plain:
        plain["env"] = env_of(value)
    if "containers" in plain.get("spec", {}):
        plain.pop("metadata", None)  # the labels of a pod template
    return plain


@pytest.mark.parametrize("scenario", WAYS)
def test_the_same_comes_out(scenario: str, tmp_path: Path) -> None:
    """inject makes of the chart without the toggle what the chart makes with it: containers, volumes, Roles."""
    values = CHART / "ci" / f"{scenario}-values.yaml"
    version = "1.28" if scenario == "ordinary" else "1.30"
    own = written(tmp_path, CHARTS_OWN.get(scenario, {}))
    off = written(tmp_path, {"cleanup": {"enabled": False}, "k6": {"automountServiceAccountToken": False}})
    on = written(tmp_path, {"k6": {"automountServiceAccountToken": False}})
    expected = comparable(render(values, own, on, version=version).manifests)
    before = [each for each in render(values, own, off, version=version).manifests if each["kind"] != "Pod"]
    assert comparable(injected(before, WAYS[scenario])) == expected
    assert "SWEEP_" not in str(before)
