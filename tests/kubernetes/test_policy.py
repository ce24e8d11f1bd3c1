"""The API server itself adds the sidecar to a labelled Job, or refuses the Job in words."""

import copy
import io
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from k6_sweep.inject.command import inject
from tests.chart.helm import render, why_no_helm, written
from tests.chart.test_inject_alike import _plain
from tests.kubernetes.apiserver import RefusedByServerError
from tests.kubernetes.rig import Manifest, Namespace
from tests.kubernetes.test_chart import as_text, kubectl
from tests.support import until

BASIS: dict[str, Any] = {
    "k6": {"enabled": False},
    "cleanup": {
        "redis": {"url": "redis://redis:6379"},
        "patterns": ["stream:*", "queue:*"],
        "guards": {"maxKeys": 5000},
    },
}
OPTIONS = (
    *("--image", "registry.example/k6-sweep:1.0.0", "--redis-url", "redis://redis:6379"),
    *("--pattern", "stream:*", "--pattern", "queue:*", "--max-keys", "5000"),
)
STRANGE = "queue:{a}<&>\u00e9*"
"""A pattern with what Helm, JSON and CEL write in their own ways."""
_NUMBERS = itertools.count()
Install = Callable[..., str]


def job(profile: str, pod: Manifest | None = None, **spec: object) -> Manifest:
    """Return a Job with the label."""
    containers = [{"name": "k6", "image": "grafana/k6", "args": ["run", "/scripts/test.js"]}]
    template = {"spec": {"restartPolicy": "Never", "containers": containers, **(pod or {})}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"load-{next(_NUMBERS)}", "labels": {"k6-sweep/profile": profile}},
        "spec": {"backoffLimit": 0, "template": template, **spec},
    }


def asked(namespace: Namespace, manifest: Manifest) -> Manifest:
    """Return a Job as the API server would store it."""
    path = f"/apis/batch/v1/namespaces/{namespace.name}/jobs?dryRun=All&fieldValidation=Strict"
    return namespace.api.ask("POST", path, manifest)


def ours(made: Manifest) -> list[str]:
    """Return the names of the init containers."""
    return [each["name"] for each in made["spec"]["template"]["spec"].get("initContainers", [])]


@pytest.fixture
def install(namespace: Namespace, tmp_path: Path) -> Iterator[Install]:
    """Install the policy of a release, wait until it works, and return its profile."""
    if reason := why_no_helm():
        pytest.skip(reason)
    installed = []

    def one(*, on_refusal: str = "deny", waits: bool = True, more: Manifest | None = None, **cleanup: object) -> str:
        profile = f"profile-{next(_NUMBERS)}"
        policy = {"enabled": True, "profile": profile, "onRefusal": on_refusal}
        values = {**copy.deepcopy(BASIS), "policy": policy, **(more or {})}
        values["cleanup"].update(cleanup)
        found = [each for each in render(written(tmp_path, values)).manifests if "AdmissionPolicy" in each["kind"]]
        text = as_text(found)
        installed.append(text)
        kubectl(namespace.api, "apply", "--validate=strict", "-f", "-", given=text)
        if waits:
            until(lambda: ours(asked(namespace, job(profile))) != [])
        if waits and on_refusal == "deny":  # the API server loads the two policies one after the other
            pod, spec, _ = next(case for case in REFUSED.values() if case[2])
            until(lambda: is_refused(namespace, job(profile, pod, **spec)))
        return profile

    yield one
    for text in installed:
        kubectl(namespace.api, "delete", "--ignore-not-found", "-f", "-", given=text)


def is_refused(namespace: Namespace, manifest: Manifest) -> bool:
    try:
        asked(namespace, manifest)
    except RefusedByServerError:
        return True
    return False


def by_inject(manifest: Manifest, *options: str) -> Manifest:
    """Return what inject makes of a Job."""
    made = inject(["-f", "-", *OPTIONS, *options], {}, io.StringIO(json.dumps(manifest))).text
    (found,) = YAML(typ="safe").load_all(made)
    return dict(found)


def plain(made: Manifest) -> Any:
    """Return what matters of a Job, without what the API server or inject notes down."""
    spec = copy.deepcopy(made["spec"])
    return _plain({"replacement": spec["podReplacementPolicy"], "pod": spec["template"]["spec"]})


@pytest.mark.parametrize(
    ("cleanup", "options", "pod"),
    [
        ({}, (), {}),
        ({}, (), {"terminationGracePeriodSeconds": 300, "volumes": [{"name": "s", "emptyDir": {}}]}),
        ({}, (), {"initContainers": [{"name": "first", "image": "first"}]}),
        (
            {
                "preserveExisting": True,
                "preflight": {"enabled": True},
                "dryRun": True,
                "keep": [STRANGE],
            },
            ("--only-new", "--preflight", "--dry-run", "--keep", STRANGE),
            {},
        ),
    ],
    ids=["bare", "with more", "with an init container", "all init containers"],
)
def test_the_same_as_inject(
    cleanup: dict[str, Any], options: tuple[str, ...], pod: Manifest, install: Install, namespace: Namespace
) -> None:
    """A labelled Job gets from the API server what inject adds to it, field by field."""
    manifest = job(install(**cleanup), pod)
    expected = by_inject(manifest, *options)
    expected["metadata"] = {"name": manifest["metadata"]["name"]}  # without the label: the policy leaves it alone
    assert plain(asked(namespace, manifest)) == plain(asked(namespace, expected))


def test_the_files_of_a_secret(install: Install, namespace: Namespace) -> None:
    """The password comes as a file; without the Secret or its key, a Job is refused in words."""
    profile = install(redis={"url": "redis://redis:6379", "existingSecret": "redis"}, waits=False)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "redis"}, "stringData": {"other": "x"}}

    def refusal() -> str:
        try:
            asked(namespace, job(profile))
        except RefusedByServerError as error:
            return str(error)
        return ""

    until(lambda: "secret-redis-is-missing" in refusal())
    namespace.create(secret)
    until(lambda: "the Secret redis of this namespace has no key password" in refusal())
    namespace.api.patch(f"/api/v1/namespaces/{namespace.name}/secrets/redis", {"stringData": {"password": "x"}})
    until(
        lambda: refusal() == "" and ours(asked(namespace, job(profile))) != []
    )  # each policy sees the Secret by itself
    made = asked(namespace, job(profile))
    expected = by_inject(job(profile), "--redis-password-secret", "redis")
    expected["metadata"] = {"name": "x"}
    assert plain(made) == plain(asked(namespace, expected))


K6: Manifest = {"name": "k6", "image": "grafana/k6"}
RESTARTS_ON_7: Manifest = {
    "restartPolicy": "Never",
    "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [7]}}],
}
RESTARTS_ALL: Manifest = {
    "name": "data",
    "image": "data",
    "restartPolicy": "Never",
    "restartPolicyRules": [{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [7]}}],
}
REFUSED: dict[str, tuple[Manifest, Manifest, str]] = {
    "several pods": ({}, {"parallelism": 3}, "a test in several pods needs one watcher"),
    "restarts": ({"restartPolicy": "OnFailure"}, {}, "restartPolicy must be Never"),
    "restarts all": ({"initContainers": [RESTARTS_ALL]}, {}, "a container has a rule that restarts all containers"),
    "a helper restarts all": ({"containers": [K6, RESTARTS_ALL]}, {}, "a container has a rule that restarts all"),
    "k6 restarts": ({"containers": [{**K6, "restartPolicy": "OnFailure"}]}, {}, "restartPolicy must be Never"),
    "k6 has a rule": ({"containers": [{**K6, **RESTARTS_ON_7}]}, {}, "restartPolicy must be Never"),
    "k6 never restarts": ({"containers": [{**K6, "restartPolicy": "Never"}]}, {}, ""),
    "a helper restarts": ({"containers": [K6, {**RESTARTS_ALL, **RESTARTS_ON_7}]}, {}, ""),
    "a helper has a policy": ({"containers": [K6, {"name": "a", "image": "b", "restartPolicy": "OnFailure"}]}, {}, ""),
    "no k6": ({"containers": [{"name": "app", "image": "shop"}]}, {}, "no container is named k6"),
    "alone": ({"shareProcessNamespace": False}, {}, "k6-sweep must see the processes of this pod"),
    "host's processes": ({"hostPID": True}, {}, "k6-sweep must see the processes of this pod"),
    "same user": ({"securityContext": {"runAsUser": 64001}}, {}, "k6 must not run as user 64001"),
    "k6 by its image": ({"containers": [{"name": "a", "image": "x/k6@sha256:" + "0" * 64}]}, {}, ""),
    "k6 by its command": ({"containers": [{"name": "a", "image": "b", "command": ["sh", "-c", "k6 run a"]}]}, {}, ""),
}


def test_what_cannot_be_served_is_refused_in_words(install: Install, namespace: Namespace) -> None:
    """A labelled Job that a sidecar cannot serve is refused with the reason, and never runs without its cleanup."""
    profile = install()
    for name, (pod, spec, said) in REFUSED.items():
        if not said:
            assert ours(asked(namespace, job(profile, pod, **spec))) == ["k6-sweep"], name
            continue
        with pytest.raises(RefusedByServerError, match=f"k6-sweep: {said}"):
            asked(namespace, job(profile, pod, **spec))


def test_a_namespace_that_the_guard_forbids(install: Install, namespace: Namespace) -> None:
    """A Job in a namespace that the guard does not allow is refused; globs mean the same as in k6-sweep."""
    profile = install(guards={"allowedNamespaces": ["load-*", "[!a-k]xb", "t?st-[0-9]*"]})
    for name in ("default", "load-ab", "axb", "lxb"):
        if name != "default":
            found = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            namespace.api.ask("POST", "/api/v1/namespaces", found)
        there = Namespace(namespace.api, name, namespace.folder)
        if name in {"load-ab", "lxb"}:
            assert ours(asked(there, job(profile))) == ["k6-sweep"]
        else:
            with pytest.raises(RefusedByServerError, match="k6-sweep may not sweep from this namespace"):
                asked(there, job(profile))


def test_a_warning_instead(install: Install, namespace: Namespace) -> None:
    """With `onRefusal: warn` such a Job runs without a sidecar, and kubectl shows the reason."""
    profile = install(on_refusal="warn")
    text = json.dumps(job(profile, parallelism=3))
    namespaced = ("create", "-n", namespace.name, "--dry-run=server", "-o", "json", "-f", "-")
    with pytest.raises(
        AssertionError, match=r"a test in several pods needs one watcher .*nothing cleans up after this"
    ):
        kubectl(namespace.api, *namespaced, "--warnings-as-errors", given=text)
    assert ours(json.loads(kubectl(namespace.api, *namespaced, given=text))) == []


def test_a_job_that_has_the_sidecar_already(install: Install, namespace: Namespace) -> None:
    """A Job with k6-sweep in it, as a native sidecar or an ordinary container, stays as it is."""
    profile = install()
    for options in ((), ("--kube-version", "1.28")):
        manifest = by_inject(job(profile), *options)
        made = asked(namespace, manifest)
        unlabelled = copy.deepcopy(manifest)
        del unlabelled["metadata"]["labels"]
        assert plain_pod(made) == plain_pod(asked(namespace, unlabelled))


def plain_pod(made: Manifest) -> Any:
    return _plain(made["spec"]["template"]["spec"])


def test_two_profiles(install: Install, namespace: Namespace) -> None:
    """Of two releases, the one of the label's profile adds its sidecar; another label, or none, adds nothing."""
    first, second = install(patterns=["first:*"]), install(patterns=["second:*"])
    for profile, pattern in ((first, "first:*"), (second, "second:*")):
        (sidecar,) = asked(namespace, job(profile))["spec"]["template"]["spec"]["initContainers"]
        assert {"name": "SWEEP_PATTERN", "value": pattern} in sidecar["env"]
    assert ours(asked(namespace, job("another"))) == []


def test_without_the_policy(install: Install, namespace: Namespace) -> None:
    """When the policy is removed, Jobs are created as they are."""
    profile = install()
    kind = "mutatingadmissionpolicybindings"
    path = f"/apis/admissionregistration.k8s.io/v1/{kind}/k6-sweep-load-test-{profile}"
    namespace.api.ask("DELETE", path)
    until(lambda: ours(asked(namespace, job(profile))) == [])


def test_pull_secrets_and_resources(install: Install, namespace: Namespace) -> None:
    """The pod gets the pull secrets of the chart in addition to its own, and resources as they are written."""
    resources = {"requests": {"cpu": 0.5, "memory": "32Mi"}, "limits": {"cpu": 1, "memory": "256Mi"}}
    profile = install(more={"imagePullSecrets": [{"name": "corp"}]}, resources=resources)
    for theirs in ([], [{"name": "mine"}]):
        pod = asked(namespace, job(profile, {"imagePullSecrets": theirs} if theirs else {}))["spec"]["template"]["spec"]
        assert pod["imagePullSecrets"] == [*theirs, {"name": "corp"}]
        expected = {"requests": {"cpu": "500m", "memory": "32Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}}
        assert pod["initContainers"][0]["resources"] == expected
