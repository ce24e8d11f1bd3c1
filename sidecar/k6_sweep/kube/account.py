"""The service account that the kubelet mounts into a pod: where the API server is, and who we are to it."""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

FOLDER: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True)
class Account:
    """A service account.

    Source: https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/
    """

    url: str
    """Where the API server is: https://HOST:PORT."""
    folder: Path = FOLDER
    """Holds `token`, `ca.crt` and `namespace`."""

    @classmethod
    def mounted(cls, environ: Mapping[str, str]) -> Self | None:
        """Return the pod's account; None outside a pod, and where automountServiceAccountToken is off."""
        host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT") or "443"
        if not host or not (FOLDER / "token").exists():
            return None
        return cls(f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}")

    @property
    def ca_file(self) -> Path:
        """The authority that the API server's certificate comes from."""
        return self.folder / "ca.crt"

    def token(self) -> str:
        """Return the token as it is now: the kubelet writes a new one from time to time.

        Raises:
            OSError: It cannot be read.
        """
        return (self.folder / "token").read_text(encoding="utf-8").strip()

    def pod(self) -> tuple[str | None, str | None]:
        """Return the pod's name and uid, to which its token is bound; None for what the token doesn't say.

        Source: https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/ (bound tokens).
        """
        try:
            body = self.token().split(".")[1]
            claims: Any = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
            pod = claims["kubernetes.io"]["pod"]
            return str(pod["name"]), str(pod["uid"])
        except (OSError, IndexError, KeyError, TypeError, ValueError, binascii.Error):
            return None, None


def mounted_namespace(folder: Path = FOLDER) -> str | None:
    """Return the pod's namespace, which is mounted with its service account; None where it cannot be read."""
    try:
        return (folder / "namespace").read_text(encoding="utf-8").strip() or None
    except OSError:
        return None
