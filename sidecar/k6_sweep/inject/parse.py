"""Reads the settings of `k6-sweep inject`, and refuses those that contradict each other."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from k6_sweep import names
from k6_sweep.inject.settings import InjectSettings
from k6_sweep.inject.values import amount, resources_of
from k6_sweep.settings.all import Settings
from k6_sweep.settings.options import flag_name, options_of, variable_name
from k6_sweep.settings.parse import contradictions
from k6_sweep.settings.read import Parser, missing, read, values_in
from k6_sweep.settings.snapshot import SnapshotSettings

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
    handed_on = {name: spec for name, spec in options_of(Settings).items() if spec.serves("inject")}
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
    if not settings.image and not names.is_published():
        yield f"--image is required: {names.how_to_build()}"
    resources = resources_of(settings.requests, settings.limits)
    for name, request in resources["requests"].items():
        limit = resources["limits"].get(name)
        if limit and amount(request) > amount(limit):
            yield f"--requests {name}={request} is more than the limit {limit}; set --limits {name}=… too"
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
