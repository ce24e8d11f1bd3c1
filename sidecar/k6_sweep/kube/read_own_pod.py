"""Reads k6-sweep's own pod from the API, if permitted: it has facts that processes and the kernel do not show."""

import time
from collections.abc import Sequence
from typing import Final

from k6_sweep.kube.api import ApiError, ApiServer, ForbiddenError
from k6_sweep.kube.login import ByAccount
from k6_sweep.kube.own_pod import TELL_THE_NAME, OwnPod
from k6_sweep.kube.pods import K6Pod, read_pod
from k6_sweep.kube.roles import PODS

_LIMIT: Final = 5.0
_PAUSES: Final = (0.5, 1.0)
"""A Role may be bound shortly after the pod was created."""


def why_not_readable(pod: OwnPod, k6_containers: Sequence[str]) -> str | None:
    """Return why the own pod can never be read; None if it can be read, or if that cannot be decided now."""
    if not pod.account:
        return "no service account is mounted (set `automountServiceAccountToken: true`)"
    if not pod.name:
        return f"the pod's name is unknown (set it: {TELL_THE_NAME})"
    why = None
    for pause in (*_PAUSES, None):
        try:
            read_own_pod(pod, k6_containers, _LIMIT)
        except ForbiddenError as error:
            why = str(error)
        except ApiError:
            return None  # the API is unreachable now; the watch keeps asking
        else:
            return None
        if pause is not None:
            time.sleep(pause)
    return why


def read_own_pod(pod: OwnPod, k6_containers: Sequence[str], limit: float) -> K6Pod:
    """Return the current state of the own pod from the API.

    Args:
        pod: The pod of k6-sweep.
        k6_containers: The names of k6's containers.
        limit: Seconds that each step of the request may take.

    Raises:
        ApiError: The pod cannot be read; ForbiddenError if the permission is missing.
    """
    if not pod.account:
        raise ApiError("the pod has no service account mounted")
    if not pod.name or not pod.namespace:
        raise ApiError("the pod's name is unknown")
    # A list and not a get, so that the Role needs no verb beyond those of a watch.
    api = ApiServer(ByAccount(pod.account), pod.namespace, limit)
    found, _ = api.list(PODS, {"fieldSelector": f"metadata.name={pod.name}"})
    if not found:
        raise ApiError(f"namespace {pod.namespace} has no pod {pod.name}")
    return read_pod(found[0], k6_containers)
