"""The service account, Role and RoleBinding that k6-sweep needs beside a test."""

import copy
from collections.abc import Mapping, Sequence
from typing import Final

from k6_sweep.inject.cleanup import OUR_LABEL, Manifest
from k6_sweep.inject.settings import InjectSettings
from k6_sweep.kube.roles import EVENTS, JOBS, PODS, TEST_RUNS, VERBS, Resource
from k6_sweep.settings.target import Target

_GROUP: Final = "rbac.authorization.k8s.io"


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


def permissions(metadata: Manifest, rules: Sequence[Manifest], account: str | None = None) -> list[Manifest]:
    """Return a service account, Role and RoleBinding with these rules; without the account if `account` exists."""
    name, namespace = metadata["name"], metadata["namespace"]
    created = [{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}] if account is None else []
    subject = {"kind": "ServiceAccount", "name": account or name, "namespace": namespace}
    return [
        *created,
        {"apiVersion": f"{_GROUP}/v1", "kind": "Role", "metadata": copy.deepcopy(metadata), "rules": list(rules)},
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
