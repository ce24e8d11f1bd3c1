"""The settings of `k6-sweep inject`: the manifests, and its additions to them beyond the sidecar's variables."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from k6_sweep.settings.all import Settings
from k6_sweep.settings.options import TakenBy, flag, flag_name, option, options_of, variable_name
from k6_sweep.settings.parse import contradictions
from k6_sweep.settings.read import Parser, missing, read
from k6_sweep.settings.snapshot import SnapshotSettings
from k6_sweep.settings.values import seconds

_MANIFESTS: Final = "Manifests"
_FORM: Final = "What is added to them"
_KEY: Final = re.compile(r"(?P<name>[a-z0-9](?:[-.a-z0-9]{0,251}[a-z0-9])?)(?:/(?P<key>[-._a-zA-Z0-9]+))?")


@dataclass(frozen=True)
class KeyIn:
    """The name of a Secret or ConfigMap, and a key in it."""

    name: str
    key: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse NAME or NAME/KEY.

        Raises:
            ValueError: The text is neither.
        """
        found = _KEY.fullmatch(text)
        if not found:
            raise ValueError(f"must be NAME or NAME/KEY, not {text!r}")
        return cls(found["name"], found["key"])


def kube_version(text: str) -> tuple[int, int]:
    """Parse a version of Kubernetes such as 1.30 or v1.30.2."""
    found = re.match(r"v?(\d+)\.(\d+)", text)
    if not found:
        raise ValueError(f"must be a version such as 1.30, not {text!r}")
    return int(found[1]), int(found[2])


@dataclass(frozen=True, kw_only=True)
class InjectSettings(Settings):
    """All settings of `inject`: those that it passes to the containers that it adds, and those of the pod."""

    filename: tuple[str, ...] = option(
        _MANIFESTS,
        TakenBy.INJECT,
        "A file of manifests, a folder of .yaml, .yml and .json files, or - for standard input (repeatable).",
        metavar="FILE",
        many=True,
        letter="f",
        required=True,
    )
    uninject: bool = flag(_MANIFESTS, TakenBy.INJECT, "Take out what an earlier inject has added.")
    namespace: str | None = option(
        _MANIFESTS,
        TakenBy.INJECT,
        "The namespace of manifests that name none; only what needs a Role asks for it.",
        metavar="NAME",
        letter="n",
    )
    image: str | None = option(
        _FORM, TakenBy.INJECT, "k6-sweep's image.", metavar="IMAGE", shown_default="k6-sweep, of this version"
    )
    kube_version: tuple[int, int] | None = option(
        _FORM,
        TakenBy.INJECT,
        "The cluster's version: before 1.29 the sidecar is an ordinary container.",
        parse=kube_version,
        metavar="VERSION",
        shown_default="1.29 or newer",
    )
    redis_password_secret: KeyIn | None = option(
        _FORM,
        TakenBy.INJECT,
        "The Secret that holds Redis's password, under `password` or KEY; mounted as a file.",
        parse=KeyIn.parse,
        metavar="NAME[/KEY]",
    )
    redis_ca_config_map: KeyIn | None = option(
        _FORM,
        TakenBy.INJECT,
        "A ConfigMap with the authorities (PEM) to trust, under `ca.crt` or KEY.",
        parse=KeyIn.parse,
        metavar="NAME[/KEY]",
    )
    redis_ca_secret: KeyIn | None = option(
        _FORM,
        TakenBy.INJECT,
        "A Secret with the authorities (PEM) to trust, under `ca.crt` or KEY.",
        parse=KeyIn.parse,
        metavar="NAME[/KEY]",
    )
    redis_client_secret: str | None = option(
        _FORM,
        TakenBy.INJECT,
        "A Secret of type kubernetes.io/tls with our own certificate, where the server asks for one.",
        metavar="NAME",
    )
    preflight: bool = flag(
        _FORM,
        TakenBy.INJECT,
        "Try Redis in an init container, so that a wrong password stops the test before it starts.",
    )
    only_new: bool = flag(
        _FORM,
        TakenBy.INJECT,
        "Delete only what the test made: an init container notes down before the test which keys exist already.",
    )
    fail_job: bool = flag(
        _FORM,
        TakenBy.INJECT,
        "A failed sweep fails the Job. Adds the ordinary container: a Job ignores a native sidecar's exit code.",
    )
    no_guard: bool = flag(
        _FORM,
        TakenBy.INJECT,
        "Accept that no guard is chosen: whatever matches the patterns goes, in whatever Redis the URL leads to.",
    )
    k6_shutdown: float = option(
        _FORM,
        TakenBy.INJECT,
        "How long k6 takes to end when its pod is deleted; its own limit for teardown() is 60.",
        parse=seconds,
        metavar="SECONDS",
        default=60.0,
    )

    @property
    def has_guard(self) -> bool:
        """Whether any guard other than the patterns limits the sweep."""
        return bool(self.allowed_namespace or self.require_marker or self.max_keys or self.only_new)


def parse_inject(argv: Sequence[str], environ: Mapping[str, str]) -> tuple[InjectSettings, dict[str, str], list[str]]:
    """Read the settings of `inject`; --uninject needs only the manifests.

    Returns:
        The settings; the sidecar's variables by their names; and a sentence for each problem.
    """
    parser = Parser(
        prog="k6-sweep inject",
        description="Add k6-sweep to the manifests of k6 tests, and print them.",
        usage="k6-sweep inject -f FILE [OPTIONS]",
        epilog="Each option is also an environment variable: --redis-url is SWEEP_REDIS_URL.",
        allow_abbrev=False,
    )
    settings, texts, problems = read(InjectSettings, "inject", parser, argv, environ, others=SnapshotSettings)
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
        if handed_on[name].many and not re.fullmatch(r"[^\s,]([^,\n]*[^\s,])?", text)
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
