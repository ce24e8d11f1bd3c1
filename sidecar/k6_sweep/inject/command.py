"""`k6-sweep inject`: adds k6-sweep to manifests, or lists every reason why it cannot."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TextIO

from k6_sweep.errors import SettingsError
from k6_sweep.inject import documents
from k6_sweep.inject.cleanup import Cleanup
from k6_sweep.inject.documents import Document
from k6_sweep.inject.edit import inject as add
from k6_sweep.inject.edit import uninject
from k6_sweep.inject.settings import InjectSettings, parse_inject
from k6_sweep.inject.workload import Workload, malformations, reasons_against, workloads


@dataclass(frozen=True)
class Injected:
    """The changed manifests, and a note about each change."""

    text: str
    """YAML, of one or more documents."""
    notes: tuple[str, ...]
    """One line for each workload."""


def inject(argv: Sequence[str], environ: Mapping[str, str], standard_input: TextIO) -> Injected:
    """Add k6-sweep to the manifests of k6 tests, or remove it.

    Raises:
        SettingsError: Settings are unusable, or k6-sweep cannot work in the manifests; it lists all problems.
    """
    wanted, env, problems = parse_inject(argv, environ)
    read = _read(wanted, problems, standard_input)
    if wanted.uninject:
        return Injected(documents.write(read), tuple(f"{title} has no k6-sweep now" for _, _, title in _titled(read)))
    cleanup = Cleanup(wanted, env, wanted.image or f"k6-sweep:{version('k6-sweep')}")
    return _inject(read, cleanup)


def _read(settings: InjectSettings, problems: Sequence[str], standard_input: TextIO) -> list[Document]:
    """Return the documents without the changes of an earlier inject."""
    if problems:
        raise SettingsError(problems)
    try:
        read = [each for each in documents.read(settings.filename, standard_input) if not each.is_ours]
    except documents.UnreadableError as error:
        raise SettingsError([str(error)]) from None
    found = list(_titled(read))
    if malformed := [f"{title}: {problem}" for _, workload, title in found for problem in malformations(workload)]:
        raise SettingsError(malformed)
    for _, workload, _ in found:
        uninject(workload)
    return read


def _titled(read: Sequence[Document]) -> Iterator[tuple[Document, Workload, str]]:
    for document in read:
        for workload in workloads(document.manifest):
            yield document, workload, f"{document.source}: {workload.title}"


def _inject(read: Sequence[Document], cleanup: Cleanup) -> Injected:
    wanted = cleanup.settings.k6_container
    every = list(_titled(read))
    found = [each for each in every if each[1].is_test_run or each[1].k6(wanted, by_image=cleanup.knows_k6_by_image)]
    others = [each for each in every if each not in found]
    if not found:
        raise SettingsError([_nothing_found(read, wanted)])
    problems = [
        f"{title}: {reason}"
        for _, workload, title in found
        for reason in reasons_against(workload, cleanup, _namespace(workload, cleanup.settings))
    ]
    problems += _shared(found)
    if problems:
        raise SettingsError(problems)
    notes = [f"{title} has no k6 container and is unchanged" for _, _, title in others]
    before: list[Document] = []
    after: list[Document] = []
    for document, workload, title in found:
        (k6,) = [wanted] if workload.is_test_run else workload.k6(wanted)
        env = dict(cleanup.env) if k6 == wanted else {**cleanup.env, "SWEEP_K6_CONTAINER": k6}
        added = add(workload, replace(cleanup, env=env), _namespace(workload, cleanup.settings))
        # Kubernetes refuses a Pod whose service account does not exist yet; a Job tries again.
        beside = before if workload.kind == "Pod" else after
        beside += [Document(document.source, documents.in_short(each), document.offset) for each in added]
        notes.append(f"{title} {_form(workload, cleanup)}")
    return Injected(documents.write([*before, *read, *after]), tuple(notes))


def _shared(found: Sequence[tuple[Document, Workload, str]]) -> Iterator[str]:
    """Yield a problem for workloads that share a part by a YAML alias: a change to one would change the other too."""
    seen: dict[int, str] = {}
    for _, workload, title in found:
        if workload.needs_watcher:
            continue
        pod = workload.pod
        for part in (pod, *(pod[field] for field in ("containers", "initContainers", "volumes") if field in pod)):
            if id(part) in seen:
                yield f"{title}: a YAML alias shares a part of it with {seen[id(part)]}; write that part out in both"
                break
            seen[id(part)] = title


def _namespace(workload: Workload, settings: InjectSettings) -> str | None:
    return workload.namespace or settings.namespace


def _form(workload: Workload, cleanup: Cleanup) -> str:
    if workload.needs_watcher:
        return "may run in several pods: a separate watcher Job sweeps when all of them have ended"
    form = f"cleans up with {'a native sidecar' if cleanup.native else 'an ordinary container before k6'}"
    if workload.retries_unasked:
        form += "; backoffLimit is not set, so Kubernetes repeats a failed test up to six times: set it to 0"
    if workload.may_overlap:
        form += "; set concurrencyPolicy: Forbid, otherwise the sweep of one test deletes the keys of the next"
    return form


def _nothing_found(read: Sequence[Document], wanted: str) -> str:
    seen = [
        f"{title} has {', '.join(str(each.get('name')) for each in workload.containers) or 'no containers'}"
        for _, workload, title in _titled(read)
    ]
    if not seen:
        kinds = sorted({str(each.manifest.get("kind")) for each in read if isinstance(each.manifest, dict)})
        return f"these manifests contain no Pod, Job, CronJob or TestRun, only {', '.join(kinds) or 'nothing'}"
    return f"no container is named {wanted}, and none has an image named k6: {'; '.join(seen)}; set --k6-container"
