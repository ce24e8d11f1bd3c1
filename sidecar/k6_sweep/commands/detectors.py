"""Creates the watch of a detector, or raises the reason why the detector cannot work here."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from k6_sweep.budget import ASSUMED_GRACE_PERIOD, Budget
from k6_sweep.commands.background import background
from k6_sweep.commands.context import Context
from k6_sweep.errors import RefusedError, SettingsError
from k6_sweep.kube.pods import K6Pod
from k6_sweep.lifecycle import Events, on_our_clock
from k6_sweep.log import LogEvent
from k6_sweep.report import Report
from k6_sweep.settings.all import Settings
from k6_sweep.settings.target import Target
from k6_sweep.status import Status
from k6_sweep.watch.outcome import K6Outcome

_ASK_SECONDS: Final = 5.0
"""Seconds that the API server may take to answer a request for k6-sweep's own pod."""
_QUICKLY: Final = 1.0
"""The same, when time is short."""


Wait = Callable[[], tuple[K6Outcome, Budget]]
"""Waits for k6 to appear and to end; returns how it ended, and the time limits for what follows."""


class Board:
    """The termination message during the wait: it lists the current problems by their source."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._worries: dict[str, tuple[str, ...]] = {}

    def tell(self, source: str = "", worries: tuple[str, ...] = ()) -> None:
        """Replace the problems of this source, and write the message."""
        self._worries[source] = worries
        errors = tuple(worry for each in self._worries.values() for worry in each)
        self._context.tell(Report(Status.WAITING, dry_run=self._context.settings.dry_run, errors=errors))


def _budget(settings: Settings) -> Budget:
    return Budget(
        timeout=settings.timeout,
        grace_period=settings.grace_period or ASSUMED_GRACE_PERIOD,
        # A native sidecar starts before k6, whose image may take any time to pull; SIGTERM ends this wait.
        start_timeout=None if settings.native else settings.start_timeout,
        max_wait=settings.max_wait,
    )


def _by_process(context: Context, events: Events, board: Board) -> Wait:  # noqa: ARG001  # one shape for all
    from k6_sweep.watch.find import check_namespace_of_processes  # loads psutil
    from k6_sweep.watch.pidfd import kernel_tells_exit_codes
    from k6_sweep.watch.process import ProcessWatch

    settings, pod, log = context.settings, context.pod, context.log
    names = settings.k6_container
    if len(names) > 1 or (names and settings.detector == "process" and not pod.account):
        useless = (
            f"--k6-container {', '.join(names)}: processes have no container names, so every visible k6 counts; "
            "remove --k6-container, or use --detector kubernetes"
        )
        raise SettingsError([useless])
    check_namespace_of_processes(pod.inside)
    budget = replace(_budget(settings), k6_dies_with_us=pod.inside)  # elsewhere a signal to k6-sweep does not end k6
    watching = ProcessWatch(settings.k6_process, lambda: budget, events, log, k6_user=settings.k6_user)
    needs_the_api = settings.when != "always" and not kernel_tells_exit_codes()
    untold = (
        f"--when {settings.when} needs k6's exit code. This kernel does not report it (Linux 6.15 and newer do), and "
        "the Kubernetes API cannot be used: "
    )
    # At the start, because after the test it is too late to mount one.
    if not pod.account and needs_the_api:
        raise SettingsError([f"{untold}the pod has no service account mounted"])

    denied = False

    def on_answer(answer: Any) -> None:
        nonlocal budget, denied
        if answer is None or "error" in answer:
            why = answer["error"] if answer else "it does not answer"
            log.debug(LogEvent.OWN_POD_UNREADABLE, problem=why)
            denied = bool(answer and answer["denied"])
            if needs_the_api:
                raise SettingsError([untold + why])
            return
        if answer["restarts"]:
            raise RefusedError(
                "the restartPolicy of the pod or of a container lets the kubelet restart k6 unnoticed, so a sweep "
                "could run during the test; set the pod's to Never and remove the container's (restartPolicy, "
                "restartPolicyRules), or use --detector kubernetes, which sees restarts"
            )
        log.debug(LogEvent.OWN_POD_READ, grace_period=answer["grace_period"])
        budget = replace(budget, grace_period=answer["grace_period"])

    def wait() -> tuple[K6Outcome, Budget]:
        if not pod.account:
            return watching.run(), budget
        with background(events, lambda: _own_pod_told(context), on_answer) as wait_for_answer:
            k6 = watching.run()
            wait_for_answer(_ASK_SECONDS)  # the pod's restartPolicy may forbid the sweep
        # An ordinary container gets SIGTERM together with k6. To load the package for a request that is denied anyway
        # would only delay the sweep.
        if settings.native and not denied and k6.seen and not k6.broken_off:
            return k6, _with_our_end(context, budget)
        return k6, budget

    return wait


def _with_our_end(context: Context, budget: Budget) -> Budget:
    """Return the budget with the moment of SIGKILL, if k6-sweep's own pod is being deleted and the API answers.

    A native sidecar gets SIGTERM only after k6 has used its share of the grace period.
    """
    pod = own_pod_now(context)
    return replace(budget, killed_at=on_our_clock(pod.deleted_by)) if pod else budget


def own_pod_now(context: Context) -> K6Pod | None:
    """Return k6-sweep's own pod from the API; None if the API does not answer now."""
    from k6_sweep.kube.api import ApiError  # loads kubernetes
    from k6_sweep.kube.read_own_pod import read_own_pod

    try:
        return read_own_pod(context.pod, context.settings.k6_containers, _QUICKLY)
    except ApiError as error:
        context.log.debug(LogEvent.OWN_POD_UNREADABLE, problem=str(error))
        return None


def _own_pod_told(context: Context) -> dict[str, Any]:
    from k6_sweep.kube.api import ApiError, ForbiddenError  # loads kubernetes, which watching processes does not need
    from k6_sweep.kube.read_own_pod import read_own_pod

    try:
        pod = read_own_pod(context.pod, context.settings.k6_containers, _ASK_SECONDS)
    except ApiError as error:
        return {"error": str(error), "denied": isinstance(error, ForbiddenError)}
    return {"restarts": pod.restarts, "grace_period": pod.grace_period}


def _by_kubernetes(context: Context, events: Events, board: Board) -> Wait:
    from k6_sweep.commands.cluster import cluster_of  # loads kubernetes
    from k6_sweep.watch.kubernetes import KubernetesWatch

    settings, pod = context.settings, context.pod
    cluster = cluster_of(settings, pod)
    return KubernetesWatch(
        settings.target or Target("pod", str(pod.name)),
        settings.k6_containers,
        cluster.api,
        cluster.own_pod,
        settings.native,
        _budget(settings),
        events,
        context.log,
        lambda trouble: board.tell("api", (f"no news from the Kubernetes API: {trouble}",) if trouble else ()),
    ).run


def _by_signal(context: Context, events: Events, board: Board) -> Wait:  # noqa: ARG001  # one shape for all
    from k6_sweep.watch.signals import SignalWatch  # only this detector needs it

    return SignalWatch(_budget(context.settings), events).run


DETECTORS: Final[dict[str, Callable[[Context, Events, Board], Wait]]] = {
    "process": _by_process,
    "kubernetes": _by_kubernetes,
    "signal": _by_signal,
}
