"""The service account that the kubelet mounts into a pod: the API server's address, and the pod's identity."""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

# The ServiceAccount admission controller of every cluster mounts the token here.
FOLDER: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True)
class Account:
    """A service account.

    Source: https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/
    """

    url: str
    """The API server's address: https://HOST:PORT."""
    folder: Path = FOLDER
    """Holds `token`, `ca.crt` and `namespace`."""

    @classmethod
    def mounted(cls, environ: Mapping[str, str]) -> Self | None:
        """Return the pod's account; None outside a pod, and if automountServiceAccountToken is off."""
        host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT") or "443"
        if not host or not (FOLDER / "token").exists():
            return None
        return cls(f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}")

    @property
    def ca_file(self) -> Path:
        """The file of the authority that signed the API server's certificate."""
        return self.folder / "ca.crt"

    def token(self) -> str:
        """Return the current token: the kubelet writes a new one from time to time.

        Raises:
            OSError: The token cannot be read.
        """
        # Not cached: the token expires, and a long test outlives it. With an old one, the API server answers 401.
        return (self.folder / "token").read_text(encoding="utf-8").strip()

    def pod(self) -> tuple[str | None, str | None]:
        """Return the name and uid of the pod to which the token is bound; None for both if the token has no pod.

        Source: https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/ (bound tokens).
        """
        try:
            # The signature is not verified: the file comes from the kubelet, and the claims only name the own pod.
            # JWTs omit the padding of base64 (RFC 7515, section 2), and Python's decoder requires it.
            body = self.token().split(".")[1]
            claims: Any = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
            pod = claims["kubernetes.io"]["pod"]
            return str(pod["name"]), str(pod["uid"])
        except (OSError, IndexError, KeyError, TypeError, ValueError, binascii.Error):
            return None, None


def mounted_namespace(folder: Path = FOLDER) -> str | None:
    """Return the pod's namespace, which is mounted with its service account; None if it cannot be read."""
    try:
        return (folder / "namespace").read_text(encoding="utf-8").strip() or None
    except OSError:
        return None
