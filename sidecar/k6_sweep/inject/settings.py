"""The settings of `k6-sweep inject`: the manifests, and its additions to them beyond the sidecar's variables."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from k6_sweep.inject.values import KeyIn, kube_version
from k6_sweep.settings.all import Settings
from k6_sweep.settings.options import Role, TakenBy, flag, flag_name, option, options_of, variable_name
from k6_sweep.settings.parse import contradictions
from k6_sweep.settings.read import Parser, missing, read, values_in
from k6_sweep.settings.snapshot import SnapshotSettings
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
        shown_default="k6-sweep with this version as its tag",
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


_NOT_PASSED_ON: Final = {
    "preserve_existing": " (--only-new adds a snapshot and its use)",
    "snapshot_max_age": "",
    "target": " (inject derives the target from the manifest)",
}
"""Settings of a sweep that would be lost without a word, each with a hint: two of them protect, one selects."""


def parse_inject(argv: Sequence[str], environ: Mapping[str, str]) -> tuple[InjectSettings, dict[str, str], list[str]]:
    """Read the settings of `inject`; --uninject needs only the manifests.

    Returns:
        The settings; the sidecar's variables by their names; and a sentence for each problem.
    """
    parser = Parser(
        prog="k6-sweep inject",
        description="Add k6-sweep to the manifests of k6 tests, and print them.",
        usage="k6-sweep inject -f FILE [OPTIONS]",
        allow_abbrev=False,
    )
    settings, texts, problems = read(InjectSettings, "inject", parser, argv, environ, others=SnapshotSettings)
    problems += [
        f"inject does not pass on {variable_name(name)}; remove it" + hint
        for name, hint in _NOT_PASSED_ON.items()
        if variable_name(name) in environ
    ]
    if settings.uninject:
        unneeded = {missing(name, spec) for name, spec in options_of(Settings).items()}
        return settings, {}, [problem for problem in problems if problem not in unneeded]
    problems += contradictions(settings)
    problems += _problems(settings)
    if problems:
        return settings, {}, problems
    handed_on = options_of(Settings)
    env = {name: each for name, each in texts.items() if name in handed_on}
    problems = [
        f"{flag_name(name)}: {text!r} cannot be passed in an environment variable, where commas and newlines separate "
        "values and surrounding spaces are dropped; write ? in their place"
        for name, each in env.items()
        for text in each
        if handed_on[name].many and [part.strip() for part in values_in(text)] != [text]
    ]
    return settings, {variable_name(name): "\n".join(each) for name, each in env.items()}, problems


def _problems(settings: InjectSettings) -> Iterator[str]:
    if settings.redis_url and (settings.redis_url.password or settings.redis_url.username):
        yield (
            "--redis-url contains a user or a password, visible to anyone who can read the pod; use --redis-username "
            "and --redis-password-secret"
        )
    if settings.redis_ca_config_map and settings.redis_ca_secret:
        yield "--redis-ca-config-map and --redis-ca-secret are both set; keep one"
    if not settings.has_guard and not settings.no_guard:
        yield "choose a guard: --allowed-namespace, --require-marker, --max-keys or --only-new; or set --no-guard"
    if settings.broad_patterns:
        broad = ", ".join(repr(pattern.text) for pattern in settings.broad_patterns)
        yield f"--pattern {broad} is too broad: start it with 3 literal characters, or set --allow-broad-patterns"
    if settings.detector == "signal":
        yield "inject cannot use --detector signal: it cannot distinguish k6's end from a test that never began"
