"""Stands for a user of a Kubernetes cluster: kubectl and Helm in one namespace, and what they show of the test."""

import json
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil
from kubernetes import client, config
from ruamel.yaml import YAML

from k6_sweep.cluster.own_keys import MARK
from k6_sweep.demo.keys import all_keys, write_keys
from k6_sweep.demo.servers import LocalCluster
from tests.support import until

ROOT = Path(__file__).parents[2]
NODE = "one-node"
NODE_ADDRESS = "10.244.0.1"
LOAD = Path(__file__).with_name("load.js").read_text()
IMAGE = {"registry": "localhost", "repository": "k6-sweep", "tag": "test", "pullPolicy": "Never"}
NAME = "load-test"
Manifest = dict[str, Any]


def merged(base: Mapping[str, Any], more: Mapping[str, Any]) -> Manifest:
    """Return values with others put over them, as Helm does with several files."""
    result = dict(base)
    for name, value in more.items():
        below = result.get(name)
        result[name] = merged(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return result


@dataclass
class ClusterUser:
    """A namespace, keys of a test in it, and keys of others that must stay."""

    namespace: str
    redis: LocalCluster
    folder: Path

    def __post_init__(self) -> None:
        config.load_kube_config()  # type: ignore[no-untyped-call]  # the package has no types there
        self._core, self._batch = client.CoreV1Api(), client.BatchV1Api()
        self.kubectl("create", "namespace", self.namespace, everywhere=True)
        self.others = {f"user-{self.namespace}:{number}".encode() for number in range(50)}
        write_keys(self.redis, self.others)

    @property
    def url(self) -> str:
        """Redis's address for pods."""
        return f"redis://{NODE_ADDRESS}:{self.redis.nodes[0].port}"

    # What the user does.

    def write(self, keys: int, kind: str = "before") -> None:
        """Write keys that match the patterns of the test."""
        write_keys(self.redis, (f"{self.namespace}:{kind}-{number}".encode() for number in range(keys)))

    def kubectl(self, *arguments: str, given: str | None = None, everywhere: bool = False) -> str:
        """Run kubectl in the namespace, and return its output."""
        where = () if everywhere else ("--namespace", self.namespace)
        return _run(["kubectl", *where, *arguments], given)

    def apply(self, *manifests: Manifest) -> None:
        """Create objects, or change them."""
        self.kubectl("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}))

    def env(
        self, keys: int = 2000, seconds: float = 3, more: Mapping[str, str] = MappingProxyType({})
    ) -> list[Manifest]:
        """Return the environment of load.js: it writes keys, and then runs for some seconds."""
        nodes = ",".join(f"redis://{NODE_ADDRESS}:{node.port}" for node in self.redis.nodes)
        env = {"NODES": nodes, "PREFIX": self.namespace, "KEYS": str(keys), "SECONDS": str(seconds), **more}
        return [{"name": name, "value": value} for name, value in env.items()]

    def values(self, env: Sequence[Manifest] | None = None, **more: Any) -> Manifest:
        """Return values for the chart: this test, and a sidecar that sweeps its keys and creates an Event."""
        base = {
            "fullnameOverride": NAME,
            "image": IMAGE,
            "k6": {"image": IMAGE | {"repository": "k6"}, "script": LOAD, "env": list(env or self.env())},
            "cleanup": {
                "enabled": True,
                "redis": {"url": self.url},
                "patterns": [f"{self.namespace}:*"],
                "guards": {"allowedNamespaces": [self.namespace]},
                "emitEvent": True,
            },
        }
        return merged(base, more)

    def install(self, values: Mapping[str, Any], release: str = NAME) -> str:
        """Install the chart, and return its NOTES."""
        path = self.folder / f"{release}.yaml"
        with path.open("w") as file:
            YAML(typ="safe").dump(dict(values), file)
        return _run(["helm4", "install", release, str(ROOT / "charts/k6-sweep"), "-n", self.namespace, "-f", str(path)])

    # What the user sees.

    def pods(self, labels: str = "") -> list[Manifest]:
        """Return the pods with these labels, the oldest first."""
        pods = _plain(self._core.list_namespaced_pod(self.namespace, label_selector=labels))["items"]
        return sorted(pods, key=lambda each: str(each["metadata"]["creationTimestamp"]))

    def job(self, name: str = NAME) -> str:
        """Return how the Job ended (`Complete`, or the reason of its failure), or an empty text."""
        conditions = _plain(self._batch.read_namespaced_job(name, self.namespace))["status"].get("conditions", ())
        met = {each["type"]: each.get("reason", "") for each in conditions if each["status"] == "True"}
        return "Complete" if "Complete" in met else met.get("Failed", "")

    def statuses(self, container: str = "k6-sweep", job: str = NAME) -> list[Manifest]:
        """Return the statuses of a container in the pods of a Job, the oldest first."""
        return [
            status
            for pod in self.pods(f"job-name={job}")
            for kind in ("initContainerStatuses", "containerStatuses")
            for status in pod.get("status", {}).get(kind) or ()
            if status["name"] == container
        ]

    def messages(self, container: str = "k6-sweep", job: str = NAME) -> list[Manifest]:
        """Return the termination messages of a container in the pods of a Job, the oldest first."""
        ended = [each.get("state", {}).get("terminated") for each in self.statuses(container, job)]
        return [json.loads(each["message"]) for each in ended if each and each.get("message")]

    def events(self) -> dict[str, str]:
        """Return k6-sweep's Events: the message of each reason."""
        events = _plain(self._core.list_namespaced_event(self.namespace))["items"]
        return {each["reason"]: each["message"] for each in events if each["source"].get("component") == "k6-sweep"}

    def pods_created_by(self, job: str) -> int:
        """Return the number of pods that a Job has started."""
        events = _plain(self._core.list_namespaced_event(self.namespace))["items"]
        created = [each for each in events if each["reason"] == "SuccessfulCreate"]
        return sum(each["involvedObject"]["name"] == job for each in created)

    def keys(self) -> int:
        """Return the number of the test's keys, without those of k6-sweep itself."""
        prefix = f"{self.namespace}:".encode()
        keys = (key for node in self.redis.nodes for key in all_keys(node))
        return sum(key.startswith(prefix) and MARK not in key for key in keys)

    def others_are_there(self) -> bool:
        """Return whether every key of others is still there."""
        return self.others <= {key for node in self.redis.nodes for key in all_keys(node)}

    # Moments to wait for.

    def wait_for_k6(self, keys: int = 2000) -> None:
        """Wait until k6 has written its keys."""
        until(lambda: self.keys() >= keys)

    def wait_for_sweep(self, below: int) -> None:
        """Wait until a sweep has deleted some of the keys."""
        until(lambda: self.keys() < below)

    def wait_for_message(self, container: str = "k6-sweep", job: str = NAME) -> Manifest:
        """Wait until a container of the Job has ended with a message, and return that."""
        until(lambda: bool(self.messages(container, job)))
        return self.messages(container, job)[0]

    def wait_for_job(self, name: str = NAME) -> str:
        """Wait until the Job has ended, and return how."""
        until(lambda: bool(self.job(name)))
        return self.job(name)

    def wait_for_event(self, reason: str) -> str:
        """Wait for an Event of k6-sweep, and return its message."""
        until(lambda: reason in self.events())
        return self.events()[reason]

    def kill(self, container: str, pod: str = NAME) -> None:
        """Kill the first process of a container, as the kernel does when memory runs out."""
        for process in self.processes(container, pod):
            process.send_signal(signal.SIGKILL)

    def processes(self, container: str, pod: str = NAME) -> list[psutil.Process]:
        """Return the first process of a container, in each pod whose name begins like this."""
        ids = {
            each["containerID"].removeprefix("containerd://")
            for found in self.pods()
            if found["metadata"]["name"].startswith(pod)
            for kind in ("initContainerStatuses", "containerStatuses")
            for each in found["status"].get(kind) or ()
            if each["name"] == container and each.get("containerID") and "running" in each["state"]
        }
        return [each for each in psutil.process_iter() if _is_first_of(each, ids)]


def _plain(answer: object) -> Any:
    """Return an answer of the API as JSON has it."""
    return client.ApiClient().sanitize_for_serialization(answer)  # type: ignore[no-untyped-call]  # the same


def _is_first_of(process: psutil.Process, containers: set[str]) -> bool:
    """Return whether a process is the first of one of these containers: its parent is of another cgroup."""
    try:
        cgroup = Path(f"/proc/{process.pid}/cgroup").read_text()
        parent = Path(f"/proc/{process.ppid()}/cgroup").read_text()
    except (OSError, psutil.Error):
        return False
    return any(each in cgroup and each not in parent for each in containers)


def kubelet() -> psutil.Process:
    """Return the node's kubelet. When it ends, the node starts another one."""
    [found] = [each for each in psutil.process_iter() if each.name() == "kubelet"]
    return found


def _run(command: Sequence[str], given: str | None = None) -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def job(name: str, pod: Manifest, **spec: Any) -> Manifest:
    """Return a Job."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never", **pod}}, **spec},
    }
