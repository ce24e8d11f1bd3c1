"""A watcher outside the cluster, on a laptop or a CI runner, with a kubeconfig."""

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from k6_sweep.demo.servers import Node
from tests.acceptance.pod import Sidecar, start_sidecar, watch_command
from tests.blocks import ROOT, blocks, shell
from tests.kubernetes.apiserver import RefusedByServerError
from tests.kubernetes.rig import READ_PODS, RUNNING, Namespace, Watchers, kept, pod, terminated
from tests.support import until

OUTSIDE = dict.fromkeys(("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "POD_NAME", "POD_NAMESPACE"))
PLUGIN = """\
import json, pathlib, sys
folder = pathlib.Path(__file__).parent
(folder / "runs").open("a").write(".")
status = {"token": (folder / "token").read_text()}
print(json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}))
"""


@dataclass
class Laptop:
    """A machine with a kubeconfig of the API server, whose contexts `staging` and `elsewhere` log in by a plugin."""

    namespace: Namespace
    account: Path
    folder: Path
    redis_url: str
    started: list[Sidecar] = field(default_factory=list)

    @property
    def kubeconfig(self) -> Path:
        return self.account / "config"

    @property
    def plugin_runs(self) -> int:
        return len((self.account / "runs").read_text())

    def write(self, context: str = "staging") -> None:
        """Write the kubeconfig with this current context, and the plugin."""
        (self.account / "plugin.py").write_text(PLUGIN)
        version = "client.authentication.k8s.io/v1"
        command = {"command": sys.executable, "args": [str(self.account / "plugin.py")]}
        user = {"exec": {"apiVersion": version, "interactiveMode": "Never", **command}}
        port = self.namespace.api.port
        ca_file = {"certificate-authority": "ca.crt"}
        self.kubeconfig.write_text(
            yaml.safe_dump(
                {
                    "current-context": context,
                    "clusters": [
                        {"name": "staging", "cluster": {"server": f"https://127.0.0.1:{port}", **ca_file}},
                        {"name": "elsewhere", "cluster": {"server": "https://127.0.0.1:9", **ca_file}},
                    ],
                    "users": [{"name": "jane", "user": user}],
                    "contexts": [
                        {"name": name, "context": {"cluster": name, "user": "jane"}}
                        for name in ("staging", "elsewhere")
                    ],
                }
            )
        )

    def start(self, *options: str, **env: str | None) -> Sidecar:
        """Start the watcher of the pod load-test."""
        target = ("--target", "pod/load-test", *options)
        environ = {**OUTSIDE, "KUBECONFIG": str(self.kubeconfig), **env}
        self.started.append(start_sidecar(self.folder, self.redis_url, *target, env=environ))
        return self.started[-1]


@pytest.fixture
def laptop(namespace: Namespace, folder: Path, redis_url: str) -> Iterator[Laptop]:
    namespace.create(pod("load-test"))
    laptop = Laptop(namespace, namespace.account(READ_PODS), folder, redis_url)
    laptop.write()
    watchers = Watchers(namespace, folder, redis_url, namespace.api.port, laptop.started)
    try:
        yield laptop
    finally:
        watchers.stop()


def test_it_waits_with_the_login_of_a_context(laptop: Laptop, redis_node: Node) -> None:
    """The watcher logs in with the context's plugin, waits for k6's end in another cluster, and sweeps from here."""
    laptop.write(context="elsewhere")
    watcher = laptop.start("--context", "staging", "--namespace", laptop.namespace.name)
    laptop.namespace.k6_is("load-test", RUNNING)
    until(lambda: watcher.says("k6 is running"))
    assert watcher.still_waits()
    assert kept(redis_node)
    laptop.namespace.k6_is("load-test", terminated(99))
    report = watcher.report()
    assert (report["status"], report["deleted"], report["k6"]["exit_code"]) == ("complete", 1, 99)
    assert laptop.plugin_runs == 1


def test_a_plugin_is_asked_again_when_its_token_ends(laptop: Laptop) -> None:
    """When the server refuses the token, the watcher takes a new one from the plugin, and goes on."""
    namespace = laptop.namespace
    namespace.create(pod("keeps-the-token", serviceAccountName=laptop.account.name))
    namespace.new_token(laptop.account, bound_to="keeps-the-token")
    watcher = laptop.start("--namespace", namespace.name)
    namespace.k6_is("load-test", RUNNING)
    until(lambda: watcher.says("k6 is running"))
    namespace.new_token(laptop.account)
    namespace.delete("Pod", "keeps-the-token")  # and ends the first token
    until(lambda: laptop.plugin_runs == 2, 60)
    namespace.k6_is("load-test", terminated(0))
    assert watcher.report()["status"] == "complete"


def test_what_is_named_counts_more_than_the_pods_account(laptop: Laptop, watchers: Watchers, redis_node: Node) -> None:
    """In a pod, a named kubeconfig is the login; without one, KUBECONFIG does not count."""
    powerless = laptop.namespace.account([])
    env = {"KUBECONFIG": str(laptop.kubeconfig)}
    refused = watchers.start(powerless, "--target", "pod/load-test", **env).report()
    assert "the service account is not allowed to list pods" in refused["errors"][0]
    options = ("--target", "pod/load-test", "--kubeconfig", str(laptop.kubeconfig))
    watcher = watchers.start(powerless, *options, "--namespace", laptop.namespace.name)
    laptop.namespace.k6_is("load-test", terminated(0))
    assert watcher.report()["status"] == "complete"
    assert not kept(redis_node)


def test_the_namespace_of_another_test(namespace: Namespace, watchers: Watchers) -> None:
    """In a pod, --namespace names the namespace of the target; the guard must allow both namespaces."""
    account = namespace.account(READ_PODS)
    options = ("--target", "pod/load-test", "--namespace", "default")
    refused = watchers.start(account, *options, "--allowed-namespace", namespace.name).report()
    assert (refused["status"], refused["deleted"]) == ("refused", 0)
    assert "the namespace is 'default'" in refused["errors"][0]
    allowed = ("--allowed-namespace", "default", "--allowed-namespace", namespace.name)
    denied = watchers.start(account, *options, *allowed).report()
    assert "not allowed to list pods in namespace default" in denied["errors"][0]


def ended(laptop: Laptop, *options: str, **env: str | None) -> tuple[int, dict[str, Any]]:
    """Return the exit code and the report of a watcher that ends at once."""
    watcher = laptop.start(*options, **env)
    report = watcher.report()
    return watcher.process.returncode, report


@pytest.mark.parametrize(
    ("options", "env", "code", "reason"),
    [
        (("--context", "prod"), {}, 2, "has no context 'prod'; set --context to one of: elsewhere, staging"),
        ((), {}, 2, "the namespace of pod/load-test is unknown; set --namespace"),
        (("--namespace", "x"), {"KUBECONFIG": "/nowhere"}, 2, "there is no kubeconfig at /nowhere"),
        (("--namespace", "x", "--allowed-namespace", "x"), {}, 4, "the Kubernetes namespace is unknown"),
        (
            ("--namespace", "x", "--allowed-namespace", "load-*"),
            {"POD_NAMESPACE": "load-test"},
            4,
            "the namespace is 'x'",
        ),
    ],
)
def test_what_is_wrong_is_told_at_once(
    options: tuple[str, ...], env: dict[str, str], code: int, reason: str, laptop: Laptop, redis_node: Node
) -> None:
    """A context, a kubeconfig or a namespace that is missing or not allowed ends the watcher before it waits."""
    found, report = ended(laptop, *options, **env)
    assert found == code
    assert reason in report["errors"][0]
    assert kept(redis_node)


def test_a_plugin_that_fails_ends_the_start(laptop: Laptop, redis_node: Node) -> None:
    """If the login fails at the start, the watcher ends with the plugin's words, and its log stays JSON."""
    (laptop.account / "plugin.py").write_text("import sys; sys.exit('run: example login')")
    found, report = ended(laptop, "--namespace", laptop.namespace.name)
    assert found == 2
    assert "process returned 1. run: example login" in report["errors"][0]
    assert all(json.loads(line) for line in laptop.started[-1].log_file.read_text().splitlines())
    assert kept(redis_node)


def test_settings_that_need_a_target(redis_url: str, tmp_path: Path) -> None:
    """Without --target, an option that names a cluster is an error: k6-sweep would not ask that cluster."""
    command = watch_command(redis_url, tmp_path / "message")
    done = subprocess.run([*command, "--context", "staging"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--context needs --target" in json.loads(done.stdout)["errors"][0]


def test_the_page_beside_kubectl(laptop: Laptop, redis_node: Node) -> None:
    """docs/kubernetes.md: kubectl creates the Job by a context, and the watcher waits for it by the same context."""
    namespace, folder = laptop.namespace, laptop.folder
    jobs = {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "create", "patch", "list", "watch"]}
    token = namespace.account([*READ_PODS, jobs]) / "token"
    (laptop.account / "token").write_text(token.read_text())
    (folder / "bin").mkdir()
    (folder / "bin" / "kubectl").symlink_to(ROOT / ".tools" / "kubectl")
    template = {"spec": pod("any")["spec"]}
    metadata = {"name": "load-test", "namespace": namespace.name}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": template}}
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    redis_node.ask("MSET", "queue:1", "x", "load-test-may-sweep", "x")
    text = blocks()["docs/kubernetes.md: kubectl apply --context"].but(
        **{
            "--namespace load-test": f"--namespace {namespace.name}",
            "rediss://redis.staging.example.com:6379 --redis-password-file redis-password": laptop.redis_url,
        }
    )
    with ThreadPoolExecutor() as beside:
        running = beside.submit(shell, text, folder, {"KUBECONFIG": str(laptop.kubeconfig)})

        def uid() -> str | None:
            assert not running.done(), running.result()
            try:
                return str(namespace.api.ask("GET", namespace.path("Job", "load-test"))["metadata"]["uid"])
            except RefusedByServerError:
                return None

        until(lambda: uid() is not None, 60)
        made = pod("load-test-1", labels={"job-name": "load-test"})
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "load-test", "uid": uid(), "controller": True}
        made["metadata"]["ownerReferences"] = [owner]
        namespace.create(made)
        namespace.k6_is("load-test-1", RUNNING)
        namespace.k6_is("load-test-1", terminated(0), phase="Succeeded")
        done = running.result()
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert (report["status"], report["deleted"], report["k6"]["exit_code"]) == ("complete", 1, 0)
    assert redis_node.ask("EXISTS", "load-test-may-sweep") == 1
