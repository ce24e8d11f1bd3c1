"""The Role and RoleBinding that k6-sweep needs beside a test; the service account is the one that the test has."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Final

from k6_sweep.inject.cleanup import OUR_LABEL, Manifest
from k6_sweep.inject.settings import InjectSettings
from k6_sweep.kube.roles import EVENTS, JOBS, PODS, TEST_RUNS, VERBS, Resource
from k6_sweep.settings.target import Target

_GROUP: Final = "rbac.authorization.k8s.io"
DEFAULT_ACCOUNT: Final = "default"
"""The service account of each namespace, which pods have if they name no other."""


def rules(settings: InjectSettings, target: Target | None) -> list[Manifest]:
    """Return the rules of the Role: of a watcher of this target, or of a sidecar if there is none."""
    asked: list[tuple[Resource, str | None]] = []
    if target and target.kind in {"job", "testrun"}:
        asked.append(({"job": JOBS, "testrun": TEST_RUNS}[target.kind], target.name))
    elif target and target.kind == "job-selector":
        asked.append((JOBS, None))
    # Before Linux 6.15 only the API reports k6's exit code.
    by_api = target or settings.detector == "kubernetes" or settings.when != "always"
    asked += [(PODS, None)] if by_api else []
    asked += [(EVENTS, None)] if settings.emit_event else []
    return [
        {
            "apiGroups": [each.group],
            "resources": [each.plural],
            **({"resourceNames": [only]} if only else {}),
            "verbs": list(VERBS[each]),
        }
        for each, only in asked
    ]


def account_of(pod: Mapping[str, Any]) -> str:
    """Return the service account that a pod has.

    It is never replaced because a Role is needed: it may have secrets for pulling images, and a cloud identity.
    """
    # serviceAccount is the old name of the field, which the API still takes.
    return str(pod.get("serviceAccountName") or pod.get("serviceAccount") or DEFAULT_ACCOUNT)


def permissions(metadata: Manifest, rules: Sequence[Manifest], account: str) -> list[Manifest]:
    """Return a Role with these rules, and a RoleBinding of it to an existing service account."""
    name, namespace = metadata["name"], metadata["namespace"]
    subject = {"kind": "ServiceAccount", "name": account, "namespace": namespace}
    return [
        {"apiVersion": f"{_GROUP}/v1", "kind": "Role", "metadata": metadata, "rules": list(rules)},
        {
            "apiVersion": f"{_GROUP}/v1",
            "kind": "RoleBinding",
            "metadata": copy.deepcopy(metadata),
            "roleRef": {"apiGroup": _GROUP, "kind": "Role", "name": name},
            "subjects": [subject],
        },
    ]


def beside(name: str) -> str:
    """Return the name of the objects that `inject` adds for a test of this name."""
    return f"{name}-sweep"


def labels() -> dict[str, str]:
    """Return the labels of what inject adds beside a test."""
    return {"app.kubernetes.io/name": "k6-sweep", OUR_LABEL[0]: OUR_LABEL[1]}


def metadata_of(name: str, namespace: str, annotations: Mapping[str, str]) -> Manifest:
    """Return the metadata of an object beside the test of this name."""
    return {
        "name": beside(name),
        "namespace": namespace,
        "labels": labels(),
        **({"annotations": dict(annotations)} if annotations else {}),
    }
