"""Builds what k6-sweep adds to a pod: containers and their files.

The chart builds the same from its values (charts/k6-sweep/templates/_cleanup.tpl); a test compares the two.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from k6_sweep.inject.settings import InjectSettings
from k6_sweep.inject.values import resources_of
from k6_sweep.settings.all import SMALLEST_MESSAGE, Settings
from k6_sweep.settings.options import options_of, variable_name

Manifest = dict[str, Any]

CONTAINER: Final = "k6-sweep"
OUR_CONTAINERS: Final = frozenset({CONTAINER, "k6-sweep-check", "k6-sweep-snapshot"})
_FILES: Final = "k6-sweep-files"
_SNAPSHOT: Final = "k6-sweep-snapshot"
OUR_VOLUMES: Final = frozenset({_FILES, _SNAPSHOT})
OUR_LABEL: Final = ("app.kubernetes.io/managed-by", "k6-sweep")
_RESERVE: Final = 10
"""Seconds of the grace period that are kept in reserve."""
_POD_MESSAGES: Final = 12288
_LARGEST_MESSAGE: Final = 4096
"""Bytes of termination messages that Kubernetes keeps: of a pod, divided equally among its containers; of a container.

Source: https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/
"""
_FIRST_WITH_NATIVE: Final = (1, 29)
"""The first version of Kubernetes with native sidecars and podReplacementPolicy enabled by default."""
_SECURITY: Final[Manifest] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
_OUR_POD: Final = [
    {"name": name, "valueFrom": {"fieldRef": {"fieldPath": f"metadata.{field}"}}}
    for name, field in (("POD_NAME", "name"), ("POD_NAMESPACE", "namespace"), ("POD_UID", "uid"))
]
_VARIABLES: Final = {variable_name(name): spec for name, spec in options_of(Settings).items()}


@dataclass(frozen=True)
class Cleanup:
    """What to add: the settings, and the sidecar's variables by their names."""

    settings: InjectSettings
    env: Mapping[str, str]
    image: str

    @property
    def knows_native(self) -> bool:
        """Whether the cluster has native sidecars."""
        version = self.settings.kube_version
        return version is None or version >= _FIRST_WITH_NATIVE

    @property
    def native(self) -> bool:
        """Whether the sidecar is a native sidecar."""
        return self.knows_native and not self.settings.fail_job

    @property
    def own_grace_period(self) -> int:
        """Seconds between SIGTERM and SIGKILL for k6-sweep's own pod: the sweep and a reserve."""
        return math.ceil(self.settings.timeout) + _RESERVE

    def grace_period(self, before: int) -> int:
        """Return the grace period of the test's pod in seconds: k6's share (at least `before`), plus k6-sweep's own."""
        return max(math.ceil(self.settings.k6_shutdown), before) + self.own_grace_period

    def sidecar(self, grace_period: int, backoff_limit: int, containers: int) -> Manifest:
        """Return the sidecar of a pod with this number of containers."""
        env: dict[str, str] = {"SWEEP_PRESERVE_EXISTING": "/snapshot/keys"} if self.settings.only_new else {}
        env["SWEEP_GRACE_PERIOD"] = str(grace_period)
        if not self.native and backoff_limit:
            env["SWEEP_FAILURE_POLICY"] = "ignore"  # else an unreachable Redis would run the load test again
        native = {"restartPolicy": "Always"} if self.native else {}
        args = ["watch", "--native"] if self.native else ["watch"]
        return self._container(CONTAINER, args, {**self.env, **env}, containers, in_pod=True, **native)

    def before_the_test(self, containers: int) -> list[Manifest]:
        """Return the init containers that run before the test."""
        wanted = []
        if self.settings.preflight:
            wanted.append(("k6-sweep-check", ["check"]))
        if self.settings.only_new:
            wanted.append(("k6-sweep-snapshot", ["snapshot", "--out", "/snapshot/keys"]))
        return [self._container(name, args, self.env, containers, in_pod=True) for name, args in wanted]

    def waiting(self, target: str) -> Manifest:
        """Return the container of a watcher, which waits for a target."""
        env = {key: value for key, value in self.env.items() if key != "SWEEP_DETECTOR"}  # a target has only one
        # A watcher follows the test's pods, so the API does not give it the grace period of its own.
        env["SWEEP_GRACE_PERIOD"] = str(self.own_grace_period)
        return self._container(CONTAINER, ["watch", "--target", target], env, 1, in_pod=False)

    def _container(
        self, name: str, args: Sequence[str], env: Mapping[str, str], containers: int, *, in_pod: bool, **more: str
    ) -> Manifest:
        limit = max(SMALLEST_MESSAGE, min(_LARGEST_MESSAGE, _POD_MESSAGES // containers))
        files = {"SWEEP_REDIS_" + what: f"/etc/k6-sweep/{path}" for what, path in self._files()}
        timeout = {"SWEEP_TIMEOUT": f"{self.settings.timeout:g}"}
        env = {**timeout, **files, **env, "SWEEP_MESSAGE_LIMIT": str(limit)}
        mounts = [{"name": _FILES, "mountPath": "/etc/k6-sweep", "readOnly": True}] if self._sources() else []
        if in_pod and self.settings.only_new:
            mounts.append({"name": _SNAPSHOT, "mountPath": "/snapshot"})
        return {
            "name": name,
            "image": self.image,
            "imagePullPolicy": "IfNotPresent",
            **more,
            "args": list(args),
            "env": [
                # The kubelet replaces $$ with $, and $(NAME) with another variable's value.
                {"name": each, "value": env[each].replace("$", "$$")}
                for each, spec in _VARIABLES.items()
                if each in env and spec.serves(args[0])
            ]
            + copy.deepcopy(_OUR_POD),
            "resources": resources_of(self.settings.requests, self.settings.limits),
            "securityContext": self._security(),
            **({"volumeMounts": mounts} if mounts else {}),
        }

    def _security(self) -> Manifest:
        uid = self.settings.run_as_user
        # Without a user, OpenShift's admission assigns one of the namespace's range.
        users = {} if isinstance(uid, str) else {"runAsUser": uid, "runAsGroup": uid}
        return {"runAsNonRoot": True, **users, **copy.deepcopy(_SECURITY)}

    def _files(self) -> list[tuple[str, str]]:
        wanted = self.settings
        found = [("PASSWORD_FILE", "password")] if wanted.redis_password_secret else []
        found += [("CA_FILE", "ca.crt")] if wanted.redis_ca_config_map or wanted.redis_ca_secret else []
        found += [("CERT_FILE", "tls.crt"), ("KEY_FILE", "tls.key")] if wanted.redis_client_secret else []
        return found

    def _sources(self) -> list[Manifest]:
        wanted = self.settings
        places = (
            ("secret", wanted.redis_password_secret, "password"),
            ("configMap", wanted.redis_ca_config_map, "ca.crt"),
            ("secret", wanted.redis_ca_secret, "ca.crt"),
        )
        sources = [
            {kind: {"name": place.name, "items": [{"key": place.key or path, "path": path}]}}
            for kind, place, path in places
            if place
        ]
        if wanted.redis_client_secret:
            items = [{"key": name, "path": name} for name in ("tls.crt", "tls.key")]
            sources.append({"secret": {"name": wanted.redis_client_secret, "items": items}})
        return sources

    def volumes(self, *, in_pod: bool) -> list[Manifest]:
        """Return the volumes of the test's pod, or of k6-sweep's own pod."""
        sources = self._sources()
        volumes: list[Manifest] = [{"name": _FILES, "projected": {"sources": sources}}] if sources else []
        if in_pod and self.settings.only_new:
            volumes.append({"name": _SNAPSHOT, "emptyDir": {}})
        return volumes
