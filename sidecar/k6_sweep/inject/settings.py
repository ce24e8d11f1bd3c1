"""The settings of `k6-sweep inject`: the manifests, and its additions to them beyond the sidecar's variables."""

from dataclasses import dataclass
from typing import Final

from k6_sweep.inject.values import USER, KeyIn, kube_version, quantities, user
from k6_sweep.settings.all import Settings
from k6_sweep.settings.options import Role, TakenBy, flag, option
from k6_sweep.settings.values import seconds

_MANIFESTS: Final = "Manifests"
_FORM: Final = "What inject adds"


@dataclass(frozen=True, kw_only=True)
class InjectSettings(Settings):
    """All settings of `inject`: those that it passes to the containers that it adds, and those of the pod."""

    filename: tuple[str, ...] = option(
        _MANIFESTS,
        TakenBy.INJECT,
        "File with manifests, folder with .yaml, .yml and .json files, or - for standard input (repeatable).",
        role=Role.SELECTS,
        why="inject reads only the manifests that you name.",
        metavar="FILE",
        many=True,
        letter="f",
        required=True,
    )
    uninject: bool = flag(
        _MANIFESTS,
        TakenBy.INJECT,
        "Remove what an earlier inject added.",
        role=Role.NEITHER,
        why="The usual task is to add k6-sweep.",
    )
    namespace: str | None = option(
        _MANIFESTS,
        TakenBy.INJECT,
        "Namespace of manifests that name none. inject asks for it only if it adds a Role.",
        role=Role.NEITHER,
        why="inject connects to no cluster, so it cannot know your current namespace.",
        metavar="NAME",
        letter="n",
    )
    no_comments: bool = flag(
        _MANIFESTS,
        TakenBy.INJECT,
        "Add no comments to the lines that inject adds.",
        role=Role.NEITHER,
        why="The comments explain the lines to the next reader of the manifest.",
    )
    image: str | None = option(
        _FORM,
        TakenBy.INJECT,
        "Image of k6-sweep.",
        role=Role.NEITHER,
        why="The containers then understand every setting that this version of inject writes.",
        metavar="IMAGE",
        shown_default="k6-sweep of this version; required while no image is published",
    )
    kube_version: tuple[int, int] | None = option(
        _FORM,
        TakenBy.INJECT,
        "Version of the cluster's Kubernetes. Before 1.29, the sidecar is an ordinary container.",
        role=Role.NEITHER,
        why="Kubernetes enables native sidecars by default since 1.29; inject connects to no cluster to ask.",
        parse=kube_version,
        metavar="VERSION",
        shown_default="1.29 or newer",
    )
    redis_password_secret: KeyIn | None = option(
        _FORM,
        TakenBy.INJECT,
        "Secret with the password of Redis, under the key `password` or KEY. It is mounted as a file.",
        role=Role.NEITHER,
        why="Needed only if Redis requires a login.",
        parse=KeyIn.parse,
        metavar="NAME[/KEY]",
    )
    redis_ca_config_map: KeyIn | None = option(
        _FORM,
        TakenBy.INJECT,
        "ConfigMap with the certificate authorities (PEM) to trust, under the key `ca.crt` or KEY.",
        role=Role.PROTECTS,
        why="Needed only if your own authority signed the certificate of Redis.",
        parse=KeyIn.parse,
        metavar="NAME[/KEY]",
    )
    redis_ca_secret: KeyIn | None = option(
        _FORM,
        TakenBy.INJECT,
        "Secret with the certificate authorities (PEM) to trust, under the key `ca.crt` or KEY.",
        role=Role.PROTECTS,
        why="Needed only if your own authority signed the certificate of Redis.",
        parse=KeyIn.parse,
        metavar="NAME[/KEY]",
    )
    redis_client_secret: str | None = option(
        _FORM,
        TakenBy.INJECT,
        "Secret of type kubernetes.io/tls with k6-sweep's own certificate, if Redis asks for one.",
        role=Role.NEITHER,
        why="Needed only if Redis asks for a client certificate.",
        metavar="NAME",
    )
    preflight: bool = flag(
        _FORM,
        TakenBy.INJECT,
        "Test Redis in an init container, so that a wrong password stops the test before it starts.",
        role=Role.NEITHER,
        why="A Redis that is unreachable for a moment should not stop the load test; the sidecar only logs a warning.",
    )
    only_new: bool = flag(
        _FORM,
        TakenBy.INJECT,
        "Delete only what the test made: before the test, an init container records which keys already exist.",
        role=Role.PROTECTS,
        why="It delays the test, and a test with its own key prefix does not need it.",
    )
    fail_job: bool = flag(
        _FORM,
        TakenBy.INJECT,
        "Let a failed sweep fail the Job. This uses the ordinary container, because a Job ignores the exit code of a "
        "native sidecar.",
        role=Role.NEITHER,
        why="The result of the Job should be k6's result.",
    )
    no_guard: bool = flag(
        _FORM,
        TakenBy.INJECT,
        "Accept that there is no guard: k6-sweep deletes every key that matches the patterns, in any Redis that the "
        "URL leads to.",
        role=Role.PROTECTS,
        why="With a guard, a wrong URL cannot delete keys of another environment.",
    )
    requests: tuple[tuple[str, str], ...] = option(
        _FORM,
        TakenBy.INJECT,
        "Resource requests of k6-sweep's containers, in kubectl's notation: cpu=10m,memory=64Mi.",
        role=Role.NEITHER,
        why="k6-sweep uses 20 MiB while it waits, and about 50 MiB in a sweep or while it asks the API. A "
        "ResourceQuota or LimitRange may ask for more.",
        parse=quantities,
        metavar="RESOURCES",
        shown_default="cpu=10m,memory=64Mi",
        default=(),
    )
    limits: tuple[tuple[str, str], ...] = option(
        _FORM,
        TakenBy.INJECT,
        "Resource limits of k6-sweep's containers, in kubectl's notation: cpu=500m,memory=256Mi.",
        role=Role.NEITHER,
        why="A sweep needs 48 MiB, a snapshot of 10,000,000 keys 105. A CPU limit makes the sweep slower.",
        parse=quantities,
        metavar="RESOURCES",
        shown_default="memory=256Mi",
        default=(),
    )
    run_as_user: int | str = option(
        _FORM,
        TakenBy.INJECT,
        "User of k6-sweep's containers: auto, a user id, or none, so that the cluster assigns one (OpenShift).",
        role=Role.PROTECTS,
        why=f"{USER} is a user that no other container has: with shared processes, those of one user can read each "
        "other's files.",
        parse=user,
        metavar="USER",
        default=USER,
        shown_default=f"auto: {USER}",
    )
    strict: bool = flag(
        _MANIFESTS,
        TakenBy.INJECT,
        "Print nothing if there is a test that k6-sweep cannot serve. Otherwise that test stays as it is, with a note.",
        role=Role.NEITHER,
        why="Manifests of a chart often hold more than one workload with k6.",
    )
    k6_shutdown: float = option(
        _FORM,
        TakenBy.INJECT,
        "Seconds that k6 needs to end when its pod is deleted. Raise it if your script raises teardownTimeout.",
        role=Role.NEITHER,
        why="60 s is k6's own limit for teardown().",
        parse=seconds,
        metavar="SECONDS",
        default=60.0,
    )

    @property
    def has_guard(self) -> bool:
        """Whether any guard other than the patterns limits the sweep."""
        return bool(self.allowed_namespace or self.require_marker or self.max_keys or self.only_new)
