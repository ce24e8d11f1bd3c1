"""Finds out what a container can know about its own pod, without asking the API."""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from k6_sweep.errors import RefusedError

# The ServiceAccount admission controller of every cluster mounts the token here.
FOLDER: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")

TELL_THE_NAME: Final = "`env: [{name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]`"
"""The part of a container's spec that passes the name of the pod to the container."""

_NAME: Final = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"


@dataclass(frozen=True)
class Account:
    """The service account that the kubelet has mounted into the pod, and the API server's address.

    Source: https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/
    """

    host: str
    port: str
    folder: Path = FOLDER
    """Holds `token`, `ca.crt` and `namespace`."""

    @classmethod
    def mounted(cls, environ: Mapping[str, str], folder: Path = FOLDER) -> Self | None:
        """Return the pod's account; None outside a pod, and if automountServiceAccountToken is off."""
        host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT") or "443"
        return cls(host, port, folder) if host and (folder / "token").exists() else None

    def pod(self) -> tuple[str | None, str | None]:
        """Return the name and uid of the pod to which the token is bound; None for both if the token has no pod.

        Source: https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/ (bound tokens).
        """
        try:
            # The signature is not verified: the file comes from the kubelet, and the claims only name the own pod.
            # JWTs omit the padding of base64 (RFC 7515, section 2), and Python's decoder requires it.
            body = (self.folder / "token").read_text(encoding="utf-8").split(".")[1]
            claims: Any = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
            pod = claims["kubernetes.io"]["pod"]
            return str(pod["name"]), str(pod["uid"])
        except (OSError, IndexError, KeyError, TypeError, ValueError, binascii.Error):
            return None, None


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
        mounted, named = _mounted_namespace(folder), environ.get("POD_NAMESPACE")
        if named and not re.fullmatch(_NAME, named):
            raise RefusedError(
                f"POD_NAMESPACE is {named!r}, which is no namespace; set it with the downward API, or remove it"
            )
        if mounted and named and mounted != named:
            raise RefusedError(
                f"POD_NAMESPACE is {named!r}, but the pod's service account is of the namespace {mounted!r}; set "
                "POD_NAMESPACE with the downward API, or remove it"
            )
        account = Account.mounted(environ, folder)
        name, uid = account.pod() if account else (None, None)
        return cls(
            inside=bool(environ.get("KUBERNETES_SERVICE_HOST")),
            # Not the hostname: `spec.hostname` and `hostNetwork` change it.
            name=environ.get("POD_NAME") or name,
            namespace=mounted or named or None,
            uid=environ.get("POD_UID") or uid or _mounted_uid(),
            account=account,
        )


def _mounted_namespace(folder: Path) -> str | None:
    """Return the pod's namespace, which is mounted with its service account; None if it cannot be read."""
    try:
        return (folder / "namespace").read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def _mounted_uid() -> str | None:
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    except OSError:
        return None
    # The kubelet mounts /etc/hosts and the termination log from /var/lib/kubelet/pods/UID: no permission is needed.
    found = re.search(r"/pods/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/", mounts)
    return found[1] if found else None
