"""Argo CD's and Helm's hooks and waves: what stands beside a test comes with or before it, and does not wait for it."""

from collections.abc import Mapping
from typing import Final

_ARGO: Final = "argocd.argoproj.io/"
_ARGO_TIME: Final = (f"{_ARGO}hook", f"{_ARGO}sync-wave")
"""When Argo CD applies an object. In one wave of one phase it applies accounts and Roles first, then all Jobs at once,
and waits for all of them. A watcher in an earlier wave would hold up the test that it waits for.

Source: https://argo-cd.readthedocs.io/en/stable/user-guide/sync-waves/
"""
_ARGO_REPLACING: Final = (f"{_ARGO}hook-delete-policy", f"{_ARGO}sync-options")
"""How Argo CD replaces the Job of the last sync: the watcher's must be replaced in the same way."""
HELM: Final = "helm.sh/hook"
_HELM_WEIGHT: Final = "helm.sh/hook-weight"


def for_permissions(annotations: Mapping[str, str]) -> dict[str, str]:
    """Return the annotations of an account and a Role beside a test with these annotations."""
    found = {name: str(annotations[name]) for name in _ARGO_TIME if name in annotations}
    if HELM in annotations:
        # Helm creates hooks one after the other, and waits only for those that are Jobs or Pods.
        # Source: https://helm.sh/docs/topics/charts_hooks/
        found |= {HELM: str(annotations[HELM]), _HELM_WEIGHT: str(_number(annotations.get(_HELM_WEIGHT, "0")) - 1)}
    return found


def for_watcher(annotations: Mapping[str, str]) -> dict[str, str]:
    """Return the annotations of the watcher of a test with these annotations."""
    return {name: str(annotations[name]) for name in (*_ARGO_TIME, *_ARGO_REPLACING) if name in annotations}


def _number(text: object) -> int:
    try:
        return int(str(text))
    except ValueError:
        return 0
