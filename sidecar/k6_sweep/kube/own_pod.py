"""Finds out what a container can know about its own pod."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from k6_sweep.errors import RefusedError
from k6_sweep.kube.account import FOLDER, Account, mounted_namespace

TELL_THE_NAME: Final = "`env: [{name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]`"
"""The part of a container's spec that passes the name of the pod to the container."""

_NAME: Final = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"


@dataclass(frozen=True)
class OwnPod:
    """The pod of k6-sweep; None means not known."""

    inside: bool = False
    """Whether k6-sweep runs in a Kubernetes pod."""
    name: str | None = None
    namespace: str | None = None
    uid: str | None = None
    account: Account | None = None
    """The pod's service account, if it is mounted."""

    @classmethod
    def found(cls, environ: Mapping[str, str], folder: Path = FOLDER) -> Self:
        """Return the pod, from the downward API's variables, else the service account, else the kubelet's mounts.

        Raises:
            RefusedError: The variable with the namespace contradicts the service account, which no manifest can forge.
        """
        mounted, named = mounted_namespace(folder), environ.get("POD_NAMESPACE")
        if named and not re.fullmatch(_NAME, named):
            raise RefusedError(
                f"POD_NAMESPACE is {named!r}, which is no namespace; set it with the downward API, or remove it"
            )
        if mounted and named and mounted != named:
            raise RefusedError(
                f"POD_NAMESPACE is {named!r}, but the pod's service account is of the namespace {mounted!r}; set "
                "POD_NAMESPACE with the downward API, or remove it"
            )
        account = Account.mounted(environ)
        name, uid = account.pod() if account else (None, None)
        return cls(
            inside=bool(environ.get("KUBERNETES_SERVICE_HOST")),
            # Not the hostname: `spec.hostname` and `hostNetwork` change it.
            name=environ.get("POD_NAME") or name,
            namespace=mounted or named or None,
            uid=environ.get("POD_UID") or uid or _mounted_uid(),
            account=account,
        )


def _mounted_uid() -> str | None:
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    except OSError:
        return None
    # The kubelet mounts /etc/hosts and the termination log from /var/lib/kubelet/pods/UID: no permission is needed.
    found = re.search(r"/pods/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/", mounts)
    return found[1] if found else None
