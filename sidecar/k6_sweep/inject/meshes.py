"""Finds where the proxy of a service mesh ends before k6-sweep, and cuts its way to Redis."""

from collections.abc import Iterator
from typing import Final

from k6_sweep.inject.workload import PodsOf

_INJECTED: Final = {"sidecar.istio.io/inject": "true", "linkerd.io/inject": "enabled"}
"""Labels and annotations that ask for the proxy of a mesh."""
_NATIVE: Final = (
    "sidecar.istio.io/nativeSidecar",
    "config.beta.linkerd.io/proxy-enable-native-sidecar",
    "config.alpha.linkerd.io/proxy-enable-native-sidecar",
)
"""Annotations that make the proxy a native sidecar, which the kubelet ends after k6-sweep."""
_EXCLUDED: Final = ("traffic.sidecar.istio.io/excludeOutboundPorts", "config.linkerd.io/skip-outbound-ports")


def of_meshes(pods: PodsOf, port: str, *, ends_proxy: bool) -> Iterator[str]:
    """Yield what to do if a mesh's proxy ends before k6-sweep has swept.

    Args:
        pods: The test's pods.
        port: Redis's.
        ends_proxy: Whether k6's command ends the proxy.
    """
    marks = {**pods.labels, **pods.annotations}
    if not ends_proxy and not any(str(marks.get(name)).lower() == value for name, value in _INJECTED.items()):
        return
    if any(str(marks.get(name)).lower() == "true" for name in _NATIVE):
        return
    if any(port in str(marks.get(name, "")).replace(" ", "").split(",") for name in _EXCLUDED):
        return
    reason = "its command ends the mesh's proxy after k6" if ends_proxy else "a mesh adds its proxy to the pod"
    yield (
        f"{reason}, and k6-sweep cannot reach Redis through a proxy that has ended: make the proxy a native sidecar, "
        f"or exclude port {port} from it (docs/kubernetes.md, Service meshes)"
    )
