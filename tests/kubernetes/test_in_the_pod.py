"""The API's part in a watch of processes, the choice of a detector, and the Event."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from k6_sweep.demo.servers import Node
from tests.acceptance.pod import K6, Pod, Sidecar, start_sidecar
from tests.kubernetes.rig import READ_PODS, RUNNING, Namespace, Watchers, mounted, terminated
from tests.kubernetes.rig import pod as a_pod
from tests.support import until

CREATE_EVENTS = {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]}
OLD_KERNEL = """
import sys
from k6_sweep.watch import pidfd
def ioctl(*_):
    raise OSError(25, "as a kernel before 6.15 answers")
pidfd.ioctl = ioctl
from k6_sweep.cli import main
sys.exit(main())
"""


def on_an_old_kernel(command: list[str]) -> list[str]:
    """Wrap a command so that the kernel seems to give no exit codes."""
    python, _, _, *arguments = command
    return [python, "-c", OLD_KERNEL, *arguments]


StartBeside = Callable[..., Sidecar]


@pytest.fixture
def beside_k6(pod: Pod, namespace: Namespace, folder: Path, redis_url: str) -> StartBeside:
    """Start a sidecar in a pod with a shared process namespace and a service account."""

    def start(
        account: Path, *options: str, wrap: Callable[[list[str]], list[str]] = lambda command: command
    ) -> Sidecar:
        return start_sidecar(
            folder,
            redis_url,
            *options,
            launch=lambda command, **options: pod.container(*command, uid=None, **options),
            wrap=lambda command: mounted(account)(wrap(command)),
            env={
                "KUBERNETES_SERVICE_HOST": "127.0.0.1",
                "KUBERNETES_SERVICE_PORT": str(namespace.api.port),
                "POD_NAME": "load-test",
            },
        )

    return start


def run_k6(pod: Pod, seconds: int, folder: Path) -> None:
    command = [K6, "run", "--quiet", "--no-usage-report", "--address", "localhost:0", str(folder / "sleep.js")]
    pod.container(*command, env=os.environ | {"SECONDS": str(seconds)})


def test_a_pod_whose_k6_would_be_started_again_is_refused(
    pod: Pod, namespace: Namespace, beside_k6: StartBeside, folder: Path, redis_node: Node
) -> None:
    """If the API shows that the kubelet restarts k6, the sidecar refuses: processes do not show restarts."""
    namespace.create(a_pod("load-test", restartPolicy="OnFailure"))
    sidecar = beside_k6(namespace.account(READ_PODS))
    run_k6(pod, 3, folder)
    report = sidecar.report()
    assert (report["status"], sidecar.process.returncode) == ("refused", 4)
    assert "set the pod's to Never" in report["errors"][0]
    assert redis_node.ask("EXISTS", "test:1") == 1


def test_the_pods_grace_period_is_learned(pod: Pod, namespace: Namespace, beside_k6: StartBeside, folder: Path) -> None:
    """Without --grace-period the sidecar takes the pod's grace period from the API."""
    namespace.create(a_pod("load-test", terminationGracePeriodSeconds=8))
    sidecar = beside_k6(namespace.account(READ_PODS), "--timeout", "2", "--log-level", "debug")
    run_k6(pod, 60, folder)
    until(lambda: sidecar.says("k6 is running") and sidecar.says("own pod read"))
    sidecar.signal(signal.SIGTERM)
    report = sidecar.report(timeout=15)  # with the default of 30 seconds it comes after 26
    assert (report["status"], report["k6"]["ended"]) == ("incomplete", False)


def test_the_api_gives_the_code_that_an_old_kernel_does_not(
    pod: Pod, namespace: Namespace, beside_k6: StartBeside, folder: Path
) -> None:
    """If the kernel gives no exit code, the report has k6's code and reason from the API."""
    namespace.create(a_pod("load-test"))
    sidecar = beside_k6(namespace.account(READ_PODS), wrap=on_an_old_kernel)
    run_k6(pod, 1, folder)
    until(lambda: sidecar.says("k6 has ended") or sidecar.says("k6 container has ended"))
    namespace.k6_is("load-test", terminated(137, "OOMKilled"))
    report = sidecar.report()
    assert (report["status"], report["k6"]["detector"]) == ("complete", "process")
    assert (report["k6"]["exit_code"], report["k6"]["reason"]) == (137, "OOMKilled")


def test_without_permission_the_code_is_left_out(
    pod: Pod, namespace: Namespace, beside_k6: StartBeside, folder: Path
) -> None:
    """Without the permission to read k6's code from the API, the report has no code and no error."""
    namespace.create(a_pod("load-test"))
    sidecar = beside_k6(namespace.account([]), wrap=on_an_old_kernel)
    run_k6(pod, 1, folder)
    report = sidecar.report()
    assert (report["status"], report["k6"]["exit_code"], report["errors"]) == ("complete", None, [])
    assert "not allowed to" not in sidecar.log_file.read_text()


def test_when_is_judged_by_the_api_on_an_old_kernel(
    pod: Pod, namespace: Namespace, beside_k6: StartBeside, folder: Path, redis_node: Node
) -> None:
    """On an old kernel --when uses the API's exit code before the sweep."""
    namespace.create(a_pod("load-test"))
    sidecar = beside_k6(namespace.account(READ_PODS), "--when", "success", wrap=on_an_old_kernel)
    run_k6(pod, 1, folder)
    until(lambda: sidecar.says("k6 container has ended"))
    namespace.k6_is("load-test", terminated(99))
    report = sidecar.report()
    assert (report["status"], report["k6"]["exit_code"]) == ("skipped", 99)
    assert redis_node.ask("EXISTS", "test:1") == 1


def test_when_without_kernel_and_api_is_refused(namespace: Namespace, beside_k6: StartBeside) -> None:
    """If neither the kernel nor the API gives k6's exit code, --when is refused at the start."""
    namespace.create(a_pod("load-test"))
    report = beside_k6(namespace.account([]), "--when", "success", wrap=on_an_old_kernel).report()
    assert report["status"] == "error"
    assert "This kernel does not report it" in report["errors"][0]
    assert "not allowed to list pods" in report["errors"][0]


def alone(command: list[str]) -> list[str]:
    """Wrap a command so that it runs in a container with its own processes only."""
    return ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *command]


@pytest.fixture
def apart(namespace: Namespace, folder: Path, redis_url: str) -> Callable[..., Sidecar]:
    """Start a sidecar in a pod without a shared process namespace."""

    def start(account: Path | None, *options: str) -> Sidecar:
        return start_sidecar(
            folder,
            redis_url,
            *options,
            wrap=lambda command: mounted(account)(alone(command)) if account else alone(command),
            env={
                "KUBERNETES_SERVICE_HOST": "127.0.0.1",
                "KUBERNETES_SERVICE_PORT": str(namespace.api.port),
                "POD_NAME": "load-test",
            },
        )

    return start


def test_auto_asks_the_api_where_processes_are_not_shared(namespace: Namespace, apart: StartBeside) -> None:
    """In a pod without shared processes `auto` uses the API if it has the permission."""
    namespace.create(a_pod("load-test"))
    sidecar = apart(namespace.account(READ_PODS))
    namespace.k6_is("load-test", RUNNING)
    namespace.k6_is("load-test", terminated(0))
    report = sidecar.report()
    assert (report["status"], report["k6"]["detector"]) == ("complete", "kubernetes")


def test_auto_names_the_ways_out(namespace: Namespace, apart: StartBeside, redis_node: Node) -> None:
    """If no detector can work, the message has the lines to paste."""
    namespace.create(a_pod("load-test"))
    for account, native in ((namespace.account([]), True), (None, False)):
        sidecar = apart(account, *(["--native"] if native else []))
        until(lambda: sidecar.status() == "error")  # noqa: B023  # called before the next iteration
        if native:
            sidecar.process.kill()
        message = sidecar.message_file.read_text()
        assert "shareProcessNamespace: true" in message
        assert "verbs: [list, watch]" in message
        assert ("--detector signal" in message) == native
        sidecar.process.communicate()
    assert redis_node.ask("EXISTS", "test:1") == 1


@pytest.mark.parametrize(
    ("options", "kind", "reason"),
    [
        ((), "Normal", "Swept"),
        (("--dry-run",), "Normal", "SweepSkipped"),
        (("--require-marker", "absent"), "Warning", "SweepRefused"),
        (("--redis-url", "redis://127.0.0.1:1", "--timeout", "1"), "Warning", "SweepIncomplete"),
    ],
)
def test_the_event(options: tuple[str, ...], kind: str, reason: str, namespace: Namespace, watchers: Watchers) -> None:
    """The pod gets one Event with the result, which `kubectl describe pod` shows."""
    uid = namespace.create(a_pod("load-test"))["metadata"]["uid"]
    account = namespace.account([*READ_PODS, CREATE_EVENTS])
    namespace.k6_is("load-test", terminated(99))
    events = ("--detector", "kubernetes", "--emit-event")
    report = watchers.start(account, *events, *options, pod_name="load-test", POD_UID=uid).report()
    (event,) = namespace.api.ask("GET", f"/api/v1/namespaces/{namespace.name}/events")["items"]
    assert (event["type"], event["reason"]) == (kind, reason)
    assert event["involvedObject"] | {"name": "load-test", "uid": uid} == event["involvedObject"]
    assert event["message"].startswith(report["status"])
    assert "k6 ended with 99 (thresholds failed)" in event["message"]


def test_an_event_that_may_not_be_created(namespace: Namespace, watchers: Watchers) -> None:
    """Without permission for the Event the sweep succeeds, and the log has a line about it."""
    namespace.create(a_pod("load-test"))
    namespace.k6_is("load-test", terminated(0))
    options = ("--detector", "kubernetes", "--emit-event")
    watcher = watchers.start(namespace.account(READ_PODS), *options, pod_name="load-test")
    assert watcher.report()["status"] == "complete"
    assert watcher.process.returncode == 0
    assert watcher.says("Event not created")
    assert "create events" in watcher.log_file.read_text()
