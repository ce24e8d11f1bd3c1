"""Chooses how to detect the end of k6, if the settings do not."""

from collections.abc import Callable

from k6_sweep.errors import SettingsError
from k6_sweep.kube.own_pod import OwnPod
from k6_sweep.kube.roles import PODS, rule
from k6_sweep.settings.all import Settings
from k6_sweep.watch.find import SHARE_THE_NAMESPACE, sees_only_own_container


def choose(
    settings: Settings,
    pod: OwnPod,
    why_not_readable: Callable[[], str | None],
    alone: Callable[[], bool] = sees_only_own_container,
) -> str:
    """Return the detector: process, kubernetes or signal.

    Args:
        settings: The settings of the watch.
        pod: The pod of k6-sweep.
        why_not_readable: Why the service account may not read the pod; None if it may, or if that is not known now.
        alone: Whether only the processes of k6-sweep's own container are visible.

    Raises:
        SettingsError: No detector can work here; the message lists the possible changes.
    """
    if settings.detector != "auto":
        return settings.detector
    # Processes have no container names: between two k6s of one pod, the first one's end would look like the test's.
    if settings.target or len(settings.k6_container) > 1:
        return "kubernetes"
    # Processes first: they need no permission, show the end within milliseconds, and need no API server.
    if not pod.inside or not alone():
        return "process"
    why_not = why_not_readable()
    if why_not is None:
        return "kubernetes"
    ways = [SHARE_THE_NAMESPACE, f"give the pod's service account a Role with `rules: [{rule(PODS)}]`"]
    # Only named, never chosen: SIGTERM also comes if the pod is deleted before k6 ran.
    ways += ["use --detector signal, which takes the native sidecar's SIGTERM as k6's end"] if settings.native else []
    blind = "k6's process is not visible: the containers do not share a process namespace"
    raise SettingsError([f"{blind}, and the Kubernetes API cannot be used: {why_not}. Either {', or '.join(ways)}"])
