"""Stands for controllers and kubelet: creates objects, sets their states, starts sidecars with a service account."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from k6_sweep.demo.servers import Node
from tests.acceptance.pod import Sidecar, start_sidecar
from tests.kubernetes.apiserver import KubeApi, place
from tests.support import until

READ_PODS = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]
RUNNING = {"running": {"startedAt": "2026-11-22T07:00:00Z"}}
Manifest = dict[str, Any]


def terminated(code: int, reason: str | None = None) -> Manifest:
    """Return the state of an ended container."""
    told = reason or ("Error" if code else "Completed")
    moments = {"startedAt": "2026-11-22T07:00:00Z", "finishedAt": "2026-11-22T07:05:00Z"}
    return {"terminated": {"exitCode": code, "reason": told, **moments}}


def pod(name: str, *, labels: Mapping[str, str] = {}, containers: Sequence[str] = ("k6",), **spec: Any) -> Manifest:
    """Return a pod on a node: without a node its deletion would be immediate."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": dict(labels)},
        "spec": {
            "restartPolicy": "Never",
            "nodeName": "node",
            "containers": [{"name": each, "image": "k6"} for each in containers],
            **spec,
        },
    }


@dataclass
class Namespace:
    """A namespace of the API server."""

    api: KubeApi
    name: str
    folder: Path
    """The folder for the files of service accounts."""
    _accounts: list[str] = field(default_factory=list)

    def create(self, manifest: Manifest) -> Manifest:
        """Create an object, with its status if it has one."""
        return self.api.ask("POST", place(manifest, self.name), manifest)

    def path(self, kind: str, name: str) -> str:
        """Return the path of an object."""
        version = {"Job": "batch/v1", "TestRun": "k6.io/v1alpha1"}.get(kind, "v1")
        return f"{place({'apiVersion': version, 'kind': kind}, self.name)}/{name}"

    def k6_is(self, name: str, state: Manifest, *, container: str = "k6", phase: str = "Running") -> None:
        """Set the state of a pod's container, as the kubelet does."""
        told = {"name": container, "image": "k6", "imageID": "", "ready": False, "restartCount": 0, "state": state}
        self.status("Pod", name, {"phase": phase, "containerStatuses": [told]})

    def status(self, kind: str, name: str, status: Manifest) -> None:
        """Set an object's status, as a controller does."""
        self.api.patch(f"{self.path(kind, name)}/status", {"status": status})

    def delete(self, kind: str, name: str, grace: int = 0) -> None:
        """Delete an object."""
        self.api.ask("DELETE", f"{self.path(kind, name)}?gracePeriodSeconds={grace}&propagationPolicy=Background")

    def account(self, rules: Sequence[Manifest], bound_to: str | None = None) -> Path:
        """Return the folder of a new service account with these permissions, with the files that the kubelet mounts."""
        name = f"account-{len(self._accounts)}"
        self._accounts.append(name)
        self.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
        group = "rbac.authorization.k8s.io"
        self.create({"apiVersion": f"{group}/v1", "kind": "Role", "metadata": {"name": name}, "rules": list(rules)})
        self.bind(name, name)
        for rule in rules:  # the API server sees a new Role a moment later
            until(lambda: self._may(name, rule))  # noqa: B023  # called in the same iteration
        folder = self.folder / name
        folder.mkdir()
        (folder / "ca.crt").write_bytes((self.api.folder / "authority.pem").read_bytes())
        (folder / "namespace").write_text(self.name)
        self.new_token(folder, bound_to)
        return folder

    def _may(self, account: str, rule: Manifest) -> bool:
        """Return whether a service account has the first permission of a rule."""
        asked = {"namespace": self.name, "verb": rule["verbs"][0], "resource": rule["resources"][0]}
        asked |= {"group": rule["apiGroups"][0], "name": next(iter(rule.get("resourceNames", ())), "")}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": f"system:serviceaccount:{self.name}:{account}", "resourceAttributes": asked},
        }
        answer = self.api.ask("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        return bool(answer["status"]["allowed"])

    def bind(self, role: str, account: str) -> None:
        """Give a service account a Role."""
        group = "rbac.authorization.k8s.io"
        self.create(
            {
                "apiVersion": f"{group}/v1",
                "kind": "RoleBinding",
                "metadata": {"name": f"{role}-{account}"},
                "roleRef": {"apiGroup": group, "kind": "Role", "name": role},
                "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": self.name}],
            }
        )

    def new_token(self, folder: Path, bound_to: str | None = None) -> None:
        """Write a new token to an account's folder, bound to a pod if one is named."""
        spec: Manifest = {"audiences": ["https://kubernetes.default.svc"]}
        if bound_to:
            uid = self.api.ask("GET", self.path("Pod", bound_to))["metadata"]["uid"]
            spec["boundObjectRef"] = {"apiVersion": "v1", "kind": "Pod", "name": bound_to, "uid": uid}
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        answer = self.api.ask("POST", f"{self.path('ServiceAccount', folder.name)}/token", request)
        fresh = folder / "token.new"
        fresh.write_text(answer["status"]["token"])
        fresh.rename(folder / "token")


def mounted(account: Path) -> Callable[[list[str]], list[str]]:
    """Return a wrapper for commands that mounts the service account where every pod has it."""
    place_of = "/run/secrets/kubernetes.io/serviceaccount"
    script = f'mount -t tmpfs none /run && mkdir -p {place_of} && mount --bind {account} {place_of} && exec "$@"'
    return lambda command: ["unshare", "--mount", "sh", "-ec", script, "sh", *command]


def kept(redis: Node) -> bool:
    """Return whether the test's key still exists."""
    return bool(redis.ask("EXISTS", "test:1") == 1)


@dataclass
class Watchers:
    """Starts sidecars in a namespace, and stops them."""

    namespace: Namespace
    folder: Path
    redis_url: str
    port: int
    """The port where they find the API server."""
    started: list[Sidecar] = field(default_factory=list)

    def start(self, account: Path, *options: str, pod_name: str | None = None, **env: str) -> Sidecar:
        """Start `k6-sweep watch` as a pod of the namespace would."""
        sidecar = start_sidecar(
            self.folder,
            self.redis_url,
            *options,
            wrap=mounted(account),
            env={
                "KUBERNETES_SERVICE_HOST": "127.0.0.1",
                "KUBERNETES_SERVICE_PORT": str(self.port),
                "POD_NAME": pod_name,
                **env,
            },
        )
        self.started.append(sidecar)
        return sidecar

    def stop(self) -> None:
        """Stop the sidecars that still run."""
        for sidecar in self.started:
            if sidecar.process.poll() is None:
                sidecar.process.kill()
                sidecar.process.wait()
            if sidecar.process.stdout:
                sidecar.process.stdout.close()
