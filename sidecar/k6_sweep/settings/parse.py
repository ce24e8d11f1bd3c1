"""Reads a command's settings from the command line and the environment, and finds all their problems."""

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from k6_sweep.names import how_to_install
from k6_sweep.patterns import Pattern
from k6_sweep.settings import redis
from k6_sweep.settings.all import KUBELET_TERMINATION_LOG, Settings
from k6_sweep.settings.read import Parser, read
from k6_sweep.settings.snapshot import SnapshotSettings
from k6_sweep.settings.sweep import SETTLE_AFTER_K6

_S = TypeVar("_S", bound=Settings)


def settings_of(command: str) -> type[Settings]:
    """Return the class of a command's settings."""
    return SnapshotSettings if command == "snapshot" else Settings


def parse(
    settings: type[_S], command: str, parser: Parser, argv: Sequence[str], environ: Mapping[str, str]
) -> tuple[_S, list[str]]:
    """Read the command's settings from the command line and the environment.

    Returns:
        The settings, and a sentence for each problem; with a problem, the settings serve only to report it.
    """
    found, _, problems = read(settings, command, parser, argv, environ, others=SnapshotSettings)
    problems += [*contradictions(found), *_metrics_problems(found)]
    problems += _cluster_problems(found) if command == "watch" else ()
    if command == "serve":
        problems += _endpoint_problems(found)
    if found.settle is None:
        found = dataclasses.replace(found, settle=SETTLE_AFTER_K6 if command == "watch" else 0.0)
    if found.termination_log is None and KUBELET_TERMINATION_LOG.exists():
        found = dataclasses.replace(found, termination_log=KUBELET_TERMINATION_LOG)
    return found, problems


def contradictions(settings: Settings) -> list[str]:
    """Return a sentence for each contradiction between settings."""
    problems = list(redis.contradictions(settings))
    problems += _keep_problems(settings)
    if settings.no_verify and settings.settle:
        problems.append("--settle needs the passes that --no-verify turns off; keep one of them")
    if settings.show_keys and not settings.dry_run:
        problems.append("--show-keys needs --dry-run: it shows what a sweep would delete")
    if settings.metrics_file not in {None, Path(os.devnull)} and settings.metrics_file == settings.termination_log:
        problems.append("--metrics-file and --termination-log name the same file; give each its own")
    problems += _detector_problems(settings)
    return problems


def warnings(settings: Settings, argv: Sequence[str]) -> list[str]:
    """Return a sentence for each setting that can be used, but is not safe."""
    url = settings.redis_url
    on_command_line = any(word == "--redis-url" or word.startswith("--redis-url=") for word in argv)
    if on_command_line and url and (url.password or url.username):
        readers = "every process of the pod or machine can read the command line"
        return [f"--redis-url contains a login, and {readers}; set SWEEP_REDIS_URL, or --redis-password-file"]
    return []


def _keep_problems(settings: Settings) -> Iterator[str]:
    """Yield a sentence for each --keep that is surely a mistake."""
    for keep in settings.keep if settings.pattern else ():
        if keep in settings.pattern:
            yield f"pattern {keep.text!r} is in both --pattern and --keep; remove it from one of them"
        elif not any(map(keep.overlaps, settings.pattern)):
            lower = Pattern(keep.text.lower())
            by_case = any(lower.overlaps(Pattern(pattern.text.lower())) for pattern in settings.pattern)
            hint = "; write it in the same case as --pattern" if by_case else "; correct it, or remove it"
            yield f"--keep {keep.text!r} spares no key that any --pattern matches{hint}"


def _detector_problems(settings: Settings) -> Iterator[str]:
    if settings.target and settings.detector in {"process", "signal"}:
        yield f"--target needs the Kubernetes API: remove --detector {settings.detector}, or set it to kubernetes"
    if settings.detector == "signal" and not settings.native:
        yield (
            "--detector signal needs --native: only a native sidecar gets SIGTERM after k6 has ended; an ordinary "
            "container gets it at the same time as k6"
        )
    if settings.detector == "signal" and settings.when != "always":
        yield f"--detector signal cannot know k6's result, so --when {settings.when} cannot be decided"


def _cluster_problems(settings: Settings) -> Iterator[str]:
    given = {"--context": settings.context, "--kubeconfig": settings.kubeconfig, "--namespace": settings.namespace}
    names = [name for name, value in given.items() if value]
    if names and not settings.target:
        yield f"{' and '.join(names)} needs --target: without it, k6-sweep watches its own pod or machine"


def _metrics_problems(settings: Settings) -> Iterator[str]:
    asked = {"--pushgateway-url": settings.pushgateway_url, "--metrics-file": settings.metrics_file}
    names = [name for name, given in asked.items() if given]
    if names and find_spec("prometheus_client") is None:
        yield f"{' and '.join(names)} needs the extra `metrics`; run: {how_to_install('metrics')}"


def _endpoint_problems(settings: Settings) -> Iterator[str]:
    if settings.admin_token and settings.admin_token_file:
        yield "the token is set in SWEEP_ADMIN_TOKEN and in --admin-token-file; keep one"
    elif not settings.admin_token and not settings.admin_token_file:
        yield "a token is required, otherwise any client could sweep: set SWEEP_ADMIN_TOKEN or --admin-token-file"
    else:
        yield from _token_problems(settings)
    if odd := [pattern.text for pattern in settings.pattern if not _is_text(pattern.text)]:
        yield f"--pattern {odd[0]!r} is not UTF-8, so JSON cannot hold it; write ? in place of each such byte"
    if bool(settings.tls_cert_file) != bool(settings.tls_key_file):
        yield "--tls-cert-file and --tls-key-file must be set together; one is missing"
    elif settings.tls_cert_file:
        import ssl  # the waiting sidecar does not need it

        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls_cert_file, settings.tls_key_file)
        except OSError as error:
            yield f"--tls-cert-file and --tls-key-file do not hold a certificate and its key (PEM): {error}"


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _token_problems(settings: Settings) -> list[str]:
    try:
        return settings.admin_tokens()[1]
    except OSError as error:
        return [f"--admin-token-file cannot be read: {error}"]
