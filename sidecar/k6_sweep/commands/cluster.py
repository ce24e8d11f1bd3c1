"""Chooses the cluster, the login and the namespace in which `watch` waits for its target."""

from dataclasses import dataclass

from k6_sweep.errors import SettingsError
from k6_sweep.kube.api import ApiServer
from k6_sweep.kube.login import ByAccount, ByKubeconfig, Login, LoginError
from k6_sweep.kube.own_pod import TELL_THE_NAME, OwnPod
from k6_sweep.settings.all import Settings
from k6_sweep.sweep.guard import check_namespace


@dataclass(frozen=True)
class Cluster:
    """Where the target is."""

    api: ApiServer
    own_pod: str | None
    """The name of k6-sweep's own pod, if it is in the same namespace of the same cluster."""


def cluster_of(settings: Settings, pod: OwnPod) -> Cluster:
    """Choose the cluster, and log in.

    Raises:
        SettingsError: There is no login, or it is not known where the target is.
        RefusedError: A guard does not allow the namespace of the target.
    """
    login, namespace = _by_kubeconfig(settings) if _uses_kubeconfig(settings, pod) else _by_account(settings, pod)
    # The guard also applies to the namespace of k6-sweep, from which it reaches Redis.
    check_namespace(settings.allowed_namespace, namespace)
    api = ApiServer(login, namespace)
    try:
        # Not in the background: the person who starts k6-sweep is still there, and can correct a login that fails.
        api.log_in()
    except LoginError as error:
        raise SettingsError([str(error)]) from error
    return Cluster(api, pod.name if isinstance(login, ByAccount) and namespace == pod.namespace else None)


def _uses_kubeconfig(settings: Settings, pod: OwnPod) -> bool:
    return bool(settings.context or settings.kubeconfig) or (settings.target is not None and not pod.inside)


def _by_account(settings: Settings, pod: OwnPod) -> tuple[Login, str]:
    namespace, problems = settings.namespace or pod.namespace, []
    if not pod.account:
        problems.append(
            "the Kubernetes API cannot be used: no service account is mounted; run in a pod with "
            "`automountServiceAccountToken: true`, or set --target, and --kubeconfig or --context"
        )
    if not namespace:
        problems.append("the pod's namespace is unknown; set POD_NAMESPACE with the downward API")
    if not settings.target and not pod.name:
        problems.append(f"the pod's own name is unknown; set it with the downward API: {TELL_THE_NAME}")
    if problems or not pod.account or not namespace:
        raise SettingsError(problems)
    return ByAccount(pod.account), namespace


def _by_kubeconfig(settings: Settings) -> tuple[Login, str]:
    login = ByKubeconfig(str(settings.kubeconfig) if settings.kubeconfig else None, settings.context)
    try:
        namespace = settings.namespace or login.namespace()
    except LoginError as error:
        raise SettingsError([str(error)]) from error
    if not namespace:
        raise SettingsError([f"the namespace of {settings.target} is unknown; set --namespace"])
    return login, namespace
