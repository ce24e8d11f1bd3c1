"""The settings of the wait for k6."""

from dataclasses import dataclass
from pathlib import Path

from k6_sweep.budget import ASSUMED_GRACE_PERIOD
from k6_sweep.settings.options import Role, TakenBy, flag, option
from k6_sweep.settings.target import Target
from k6_sweep.settings.values import (
    name_of,
    namespace_of,
    one_of,
    positive_seconds,
    readable_file,
    seconds,
    whole_number,
)

_K6 = "Waiting for k6"


@dataclass(frozen=True, kw_only=True)
class WatchSettings:
    """The settings of the wait. Durations are in seconds; `None` means that a feature is off."""

    detector: str = option(
        _K6,
        TakenBy.WAITING,
        "How to detect k6's end. process: from the processes, which the pod's containers must share. kubernetes: from "
        "the API. signal: from SIGTERM, which a native sidecar gets. auto: process or kubernetes, the first that can "
        "work.",
        role=Role.NEITHER,
        why="It works without further settings. It never chooses `signal`, because SIGTERM comes also if k6 never "
        "started.",
        parse=one_of("auto", "process", "kubernetes", "signal"),
        metavar="DETECTOR",
        default="auto",
    )
    target: Target | None = option(
        _K6,
        TakenBy.WAITING_IN_PLACE,
        "Test to wait for, by the Kubernetes API: pod/NAME, job/NAME, testrun/NAME (k6-operator), job-selector:LABELS "
        "(a Job and its pods) or selector:LABELS. For a watcher outside the test's pod.",
        role=Role.PROTECTS,
        why="A sidecar waits for the k6 in its own pod.",
        parse=Target.parse,
        metavar="TARGET",
        shown_default="k6-sweep's own pod",
    )
    context: str | None = option(
        _K6,
        TakenBy.WAITING_IN_PLACE,
        "Context of the kubeconfig: the cluster of --target, and the login there. For a machine outside the cluster.",
        role=Role.PROTECTS,
        why="kubectl uses the same. In a pod, k6-sweep uses the pod's service account unless you set this or "
        "--kubeconfig.",
        parse=name_of,
        metavar="NAME",
        shown_default="the kubeconfig's current context",
    )
    kubeconfig: Path | None = option(
        _K6,
        TakenBy.WAITING_IN_PLACE,
        "Kubeconfig with the cluster of --target and the login there.",
        role=Role.PROTECTS,
        why="kubectl uses the same.",
        parse=readable_file,
        metavar="FILE",
        shown_default="the files that KUBECONFIG names, or ~/.kube/config",
    )
    namespace: str | None = option(
        _K6,
        TakenBy.WAITING_IN_PLACE,
        "Namespace of --target. It must match --allowed-namespace, too.",
        role=Role.PROTECTS,
        why="A watcher usually runs beside its test. k6-sweep never assumes `default`, as kubectl does.",
        parse=namespace_of,
        metavar="NAME",
        shown_default="that of the pod, or of the context",
    )
    k6_container: tuple[str, ...] = option(
        _K6,
        TakenBy.WAITING,
        "Name of k6's container (kubernetes detector; repeatable). With several, the test ends with the last of them.",
        role=Role.PROTECTS,
        why="The chart, the examples and k6-operator use this name.",
        parse=name_of,
        metavar="NAME",
        many=True,
        shown_default="k6",
    )
    k6_process: str = option(
        _K6,
        TakenBy.WAITING,
        "Name of k6's executable (process detector).",
        role=Role.PROTECTS,
        why="The image and the packages of k6 use this name.",
        parse=name_of,
        metavar="NAME",
        default="k6",
    )
    k6_user: int | None = option(
        _K6,
        TakenBy.WAITING,
        "Numeric user id of k6's process (process detector). Processes of other users are not taken for k6.",
        role=Role.PROTECTS,
        why="k6's image and most manifests leave the user open.",
        parse=whole_number(0),
        metavar="UID",
        shown_default="any user",
    )
    start_timeout: float = option(
        _K6,
        TakenBy.WAITING,
        "How long to wait for k6 to appear, in seconds. Raise it if your tests queue. Ignored with --native, which "
        "waits until SIGTERM.",
        role=Role.NEITHER,
        why="The cluster needs time to pull k6's image, but a test that never starts must be reported as `unseen`.",
        parse=seconds,
        metavar="SECONDS",
        default=300.0,
    )
    max_wait: float | None = option(
        _K6,
        TakenBy.WAITING,
        "How long to wait for k6 to end, in seconds. After that, k6-sweep sweeps and reports `incomplete`.",
        role=Role.NEITHER,
        why="A sweep before k6's end deletes keys that the test still uses.",
        parse=positive_seconds,
        metavar="SECONDS",
        shown_default="no limit",
    )
    when: str = option(
        _K6,
        TakenBy.WAITING,
        "Sweep only after this outcome of k6: always, success or failure.",
        role=Role.PROTECTS,
        why="A test leaves keys behind whether it succeeds or fails.",
        parse=one_of("always", "success", "failure"),
        metavar="OUTCOME",
        default="always",
    )
    grace_period: float | None = option(
        _K6,
        TakenBy.UNTIL_SIGTERM,
        "The pod's terminationGracePeriodSeconds: the time after SIGTERM to wait for k6 and to end the sweep. Set it "
        "if k6-sweep may not read its pod.",
        role=Role.NEITHER,
        why=f"{ASSUMED_GRACE_PERIOD:g} is Kubernetes' own default. The API reports what the pod really has.",
        parse=positive_seconds,
        metavar="SECONDS",
        shown_default=f"{ASSUMED_GRACE_PERIOD:g}; in watch, what the API reports",
    )
    native: bool = flag(
        _K6,
        TakenBy.WAITING_IN_PLACE,
        "Run as a native sidecar (an init container with restartPolicy Always): after the sweep, wait for SIGTERM "
        "before the exit.",
        role=Role.NEITHER,
        why="An ordinary container must exit after the sweep, because its pod waits for it.",
    )

    @property
    def k6_containers(self) -> tuple[str, ...]:
        """The names of k6's containers."""
        return self.k6_container or ("k6",)
