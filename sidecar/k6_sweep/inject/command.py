"""`k6-sweep inject`: adds k6-sweep to manifests, or lists every reason why it cannot."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any, TextIO

from k6_sweep.errors import SettingsError
from k6_sweep.inject import documents
from k6_sweep.inject.cleanup import Cleanup
from k6_sweep.inject.comments import BESIDE_IT, IN_THE_TEST
from k6_sweep.inject.documents import Document, File
from k6_sweep.inject.edit import inject as add
from k6_sweep.inject.edit import uninject
from k6_sweep.inject.patch import Edit, Patch, SharedError
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
    if problems:
        raise SettingsError(problems)
    try:
        removals = [_removal(each) for each in documents.read(wanted.filename, standard_input)]
        if wanted.uninject:
            notes = [note for _, notes in removals for note in notes]
            return Injected(documents.write([file for file, _ in removals]), tuple(notes))
        cleanup = Cleanup(wanted, env, wanted.image or f"k6-sweep:{version('k6-sweep')}")
        return _inject([file for file, _ in removals], cleanup)
    except documents.UnreadableError as error:
        raise SettingsError([str(error)]) from None


def _removal(read: File) -> tuple[File, list[str]]:
    """Return a file without the changes of an earlier inject, and a note about each of its workloads."""
    file, notes = read.without_ours(), []
    ours = [f"{read.source}: {_name_of(each.manifest)} is removed" for each in read.documents if each.is_ours]
    found = list(_cases([file]))
    if malformed := [f"{case.title}: {problem}" for case in found for problem in malformations(case.workload)]:
        raise SettingsError(malformed)
    for case in found:
        notes.append(f"{case.title} {'has no k6-sweep now' if case.workload.is_injected else 'had no k6-sweep'}")
        before = copy.deepcopy(case.document.manifest)
        uninject(case.workload)
        file.edits += case.changes(before, {})
    return file.changed(), [*notes, *ours]


def _name_of(manifest: Any) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"


@dataclass(frozen=True)
class _Case:
    """A workload in its document."""

    document: Document
    workload: Workload

    @property
    def title(self) -> str:
        return f"{self.document.file.source}: {self.workload.title}"

    def changes(self, before: Any, comments: Mapping[str, str]) -> list[Edit]:
        """Return the edits that make the document, which was `before`, what it is now.

        Raises:
            SharedError: An alias elsewhere stands for a part that has changed.
        """
        return list(Patch(self.document.file.text, comments).edits(self.document.root, before, self.document.manifest))


def _cases(files: Sequence[File]) -> Iterator[_Case]:
    for file in files:
        for document in file.documents:
            for workload in workloads(document.manifest):
                yield _Case(document, workload)


def _inject(files: Sequence[File], cleanup: Cleanup) -> Injected:
    wanted = cleanup.settings.k6_container
    every = list(_cases(files))
    found = [
        each
        for each in every
        if each.workload.is_test_run or each.workload.k6(wanted, by_image=cleanup.knows_k6_by_image)
    ]
    if not found:
        raise SettingsError([_nothing_found(files, wanted)])
    problems = []
    notes = [f"{each.title} has no k6 container and is unchanged" for each in every if each not in found]
    for case in found:
        workload, namespace = case.workload, _namespace(case.workload, cleanup.settings)
        if reasons := list(reasons_against(workload, cleanup, namespace)):
            problems += [f"{case.title}: {reason}" for reason in reasons]
            continue
        (k6,) = [wanted] if workload.is_test_run else workload.k6(wanted)
        env = dict(cleanup.env) if k6 == wanted else {**cleanup.env, "SWEEP_K6_CONTAINER": k6}
        before = copy.deepcopy(case.document.manifest)
        added = add(workload, replace(cleanup, env=env), namespace)
        try:
            case.document.file.edits += case.changes(before, {} if cleanup.settings.no_comments else IN_THE_TEST)
        except SharedError as error:
            problems.append(f"{case.title}: {error}; write that part out in both places")
            continue
        case.document.file.put_before(case.document, added, {} if cleanup.settings.no_comments else BESIDE_IT)
        notes.append(f"{case.title} {_form(workload, cleanup)}")
    if problems:
        raise SettingsError(problems)
    return Injected(documents.write([file.changed() for file in files]), tuple(notes))


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


def _nothing_found(files: Sequence[File], wanted: str) -> str:
    seen = [
        f"{case.title} has {', '.join(str(each.get('name')) for each in case.workload.containers) or 'no containers'}"
        for case in _cases(files)
    ]
    if not seen:
        found = [document.manifest for file in files for document in file.documents]
        kinds = sorted({str(each.get("kind")) for each in found if isinstance(each, dict)})
        return f"these manifests contain no Pod, Job, CronJob or TestRun, only {', '.join(kinds) or 'nothing'}"
    return f"no container is named {wanted}, and none has an image named k6: {'; '.join(seen)}; set --k6-container"
