"""Stands for a control plane: a real kube-apiserver over a real etcd, on loopback, with RBAC, without controllers."""

import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import urllib3
from kubernetes.client import ApiClient, Configuration

from k6_sweep.demo.servers import end_with_parent, free_port
from tests.certificates import Authority
from tests.support import until

BINARY = Path(__file__).parents[2] / ".tools" / "kube-apiserver"
ADMIN = secrets.token_hex(16)


def why_no_apiserver() -> str | None:
    """Return what this machine lacks to run an API server, or None if it lacks nothing."""
    if not BINARY.exists():
        return "needs a kube-apiserver: make tools"
    if not shutil.which("etcd"):
        return "needs etcd (Debian: etcd-server)"
    if os.geteuid() != 0:
        return "needs root, to mount a service account where a pod has it"
    return None


class RefusedByServerError(Exception):
    """The API server refused a test's request."""


@dataclass
class KubeApi:
    """An API server and its administrator."""

    folder: Path
    port: int
    etcd: subprocess.Popen[bytes]
    command: list[str]
    process: subprocess.Popen[bytes]

    def __post_init__(self) -> None:
        settings = Configuration(
            host=f"https://127.0.0.1:{self.port}",
            api_key={"BearerToken": f"Bearer {ADMIN}"},
            ssl_ca_cert=str(self.folder / "authority.pem"),
        )
        self._client = ApiClient(settings)

    @classmethod
    def start(cls, folder: Path) -> Self:
        """Start etcd and the API server, and wait until they answer."""
        authority = Authority(folder)
        authority.issue("apiserver", "127.0.0.1", "localhost")
        (folder / "tokens.csv").write_text(f"{ADMIN},admin,admin,system:masters\n")
        client, peer, port = free_port(), free_port(), free_port()
        with (folder / "etcd.log").open("wb") as log:
            etcd = subprocess.Popen(
                [
                    *("etcd", "--data-dir", str(folder / "etcd"), "--log-level", "error"),
                    *("--listen-client-urls", f"http://127.0.0.1:{client}"),
                    *("--advertise-client-urls", f"http://127.0.0.1:{client}"),
                    *("--listen-peer-urls", f"http://127.0.0.1:{peer}"),
                    *("--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}"),
                    *("--initial-cluster", f"default=http://127.0.0.1:{peer}"),
                ],
                stdout=log,
                stderr=log,
                preexec_fn=end_with_parent,  # noqa: PLW1509  # it only makes one system call
            )
        key = str(folder / "key.pem")
        command = [
            *(str(BINARY), "--etcd-servers", f"http://127.0.0.1:{client}", "--secure-port", str(port)),
            *("--bind-address", "127.0.0.1", "--authorization-mode", "RBAC"),
            *("--tls-cert-file", str(folder / "apiserver.pem"), "--tls-private-key-file", key),
            *("--token-auth-file", str(folder / "tokens.csv")),
            *("--service-account-issuer", "https://kubernetes.default.svc"),
            *("--service-account-signing-key-file", key, "--service-account-key-file", key),
            *("--service-cluster-ip-range", "10.0.0.0/24"),
            # The plugin waits for an account and a secret of a controller, which does not run here.
            *("--disable-admission-plugins", "ServiceAccount"),
        ]
        server = cls(folder, port, etcd, command, cls._launch(command, folder))
        until(server.ready, seconds=90)
        return server

    @staticmethod
    def _launch(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
        with (folder / "apiserver.log").open("ab") as log:
            return subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                preexec_fn=end_with_parent,  # noqa: PLW1509  # it only makes one system call
            )

    def ready(self) -> bool:
        """Return whether it answers and finds itself ready."""
        assert self.process.poll() is None, (self.folder / "apiserver.log").read_text()[-2000:]
        try:
            return self._request("GET", "/readyz").status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def stop(self) -> None:
        """Stop both processes."""
        for process in (self.process, self.etcd):
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()

    def restart(self, pause: float) -> None:
        """Stop the API server and start it again after a pause."""
        self.process.kill()
        self.process.wait()
        time.sleep(pause)
        self.process = self._launch(self.command, self.folder)
        until(self.ready, seconds=90)

    def _request(self, method: str, path: str, body: object = None, kind: str = "json") -> urllib3.BaseHTTPResponse:
        headers = {"Accept": "application/json", "Content-Type": f"application/{kind}"}
        request = self._client.param_serialize(
            method, path, header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        response: urllib3.BaseHTTPResponse = self._client.call_api(*request, _request_timeout=30).response
        return response

    def ask(self, method: str, path: str, body: object = None, kind: str = "json") -> dict[str, Any]:
        """Send a request as the administrator.

        Raises:
            RefusedByServerError: The server refused it.
        """
        response = self._request(method, path, body, kind)
        if response.status >= 300:
            raise RefusedByServerError(f"{method} {path}: {response.status} {response.data.decode()[:500]}")
        answer: dict[str, Any] = response.json()
        return answer

    def patch(self, path: str, body: Mapping[str, object]) -> None:
        """Change an object."""
        self.ask("PATCH", path, body, "merge-patch+json")


def place(resource: Mapping[str, Any], namespace: str) -> str:
    """Return the API path of objects of this kind."""
    group = resource["apiVersion"]
    root = f"/apis/{group}" if "/" in group else f"/api/{group}"
    plural = resource["kind"].lower() + "s"
    everywhere = resource["kind"] in {"Namespace", "CustomResourceDefinition"}
    return f"{root}/{plural}" if everywhere else f"{root}/namespaces/{namespace}/{plural}"
