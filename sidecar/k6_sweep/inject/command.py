"""`k6-sweep inject`: adds k6-sweep to manifests, or lists every reason why it cannot."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TextIO

from k6_sweep import names
from k6_sweep.errors import SettingsError
from k6_sweep.inject import documents
from k6_sweep.inject.cleanup import Cleanup
from k6_sweep.inject.comments import BESIDE_IT, IN_THE_TEST
from k6_sweep.inject.documents import Document, File
from k6_sweep.inject.edit import inject as add
from k6_sweep.inject.edit import uninject
from k6_sweep.inject.find import malformations, workloads
from k6_sweep.inject.notes import advice, served
from k6_sweep.inject.parse import parse_inject
from k6_sweep.inject.patch import Edit, Patch, SharedError
from k6_sweep.inject.permissions import rules
from k6_sweep.inject.reasons import reasons_against
from k6_sweep.inject.settings import InjectSettings
from k6_sweep.inject.watcher import target_of
from k6_sweep.inject.workload import Workload


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
        cleanup = Cleanup(wanted, env, wanted.image or names.image())
        return _inject([file for file, _ in removals], cleanup)
    except documents.UnreadableError as error:
        raise SettingsError([str(error)]) from None


def _removal(read: File) -> tuple[File, list[str]]:
    """Return a file without the changes of an earlier inject, and a note about each of its workloads."""
    file, notes = read.without_ours(), []
    created = [each.manifest for each in read.documents if documents.is_ours(each.manifest)]
    found = list(_cases([file]))
    if malformed := [f"{case.title}: {problem}" for case in found for problem in malformations(case.workload)]:
        raise SettingsError(malformed)
    for case in found:
        notes.append(f"{case.title} {'has no k6-sweep now' if case.workload.is_injected else 'had no k6-sweep'}")
        before = copy.deepcopy(case.document.manifest)
        uninject(case.workload)
        file.edits += case.changes(before, {})
    for document in file.documents:
        objects = document.manifest.get("objects") if isinstance(document.manifest, dict) else None
        if isinstance(objects, list) and (removed := [each for each in objects if documents.is_ours(each)]):
            rest = {**document.manifest, "objects": [each for each in objects if each not in removed]}
            file.edits += Patch(file.text, {}).edits(document.root, document.manifest, rest)
            created += removed
    return file.changed(), [*notes, *(f"{read.source}: {_name_of(each)} is removed" for each in created)]


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

    def put_before(self, added: Sequence[Any], comments: Mapping[str, str]) -> None:
        """Put objects before the workload: into its Template, or as documents before its own."""
        objects = self.document.manifest.get("objects")
        if not isinstance(objects, list):
            self.document.file.put_before(self.document, added, comments)
            return
        before = copy.deepcopy(self.document.manifest)
        place = next(number for number, each in enumerate(objects) if each is self.workload.manifest)
        objects[place:place] = added
        self.document.file.edits += self.changes(before, comments)


def _cases(files: Sequence[File]) -> Iterator[_Case]:
    for file in files:
        for document in file.documents:
            for workload in workloads(document.manifest):
                yield _Case(document, workload)


def _inject(files: Sequence[File], cleanup: Cleanup) -> Injected:
    wanted = cleanup.settings.k6_container
    every = list(_cases(files))
    found = [each for each in every if each.workload.is_test_run or each.workload.k6(wanted)]
    if not found:
        raise SettingsError([_nothing_found(files, wanted)])
    manifests = [each.manifest for file in files for each in file.documents]
    problems, notes, left = list[str](), list[str](), 0
    for case in found:
        try:
            notes += _serve(case, cleanup, manifests)
        except _NotServedError as error:
            problems += [f"{case.title}: {reason}" for reason in error.reasons]
            left += 1
    if len(found) - left > 1:
        if cleanup.settings.coordinate == "off":
            raise SettingsError(["several tests with --coordinate off: the sweep of one deletes the keys of others"])
        notes.append("several tests: if they run at the same time on one Redis, the last one out sweeps for all")
    if problems and (cleanup.settings.strict or not notes):
        raise SettingsError(problems)
    notes += [f"{problem} (left as it is: nothing cleans up after it)" for problem in problems]
    notes += [f"{each.title} has no k6 container and is unchanged" for each in every if each not in found]
    notes.append(f"tests with k6-sweep: {len(found) - left}; tests left without it: {left}")
    return Injected(documents.write([file.changed() for file in files]), tuple(notes))


class _NotServedError(Exception):
    """A workload cannot be served, for these reasons."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


def _serve(case: _Case, cleanup: Cleanup, manifests: Sequence[Any]) -> list[str]:
    """Add k6-sweep to a workload; return the notes about it."""
    workload, namespace = case.workload, _namespace(case.workload, cleanup.settings)
    k6 = cleanup.settings.k6_containers if workload.is_test_run else tuple(workload.k6(cleanup.settings.k6_container))
    if workload.several_k6(k6) and cleanup.settings.detector == "auto" and not workload.needs_watcher:
        # Processes have no container names: between two k6s, the first one's end would look like the test's.
        env = {**cleanup.env, "SWEEP_DETECTOR": "kubernetes"}
        cleanup = replace(cleanup, settings=replace(cleanup.settings, detector="kubernetes"), env=env)
    target = target_of(workload, by_label=case.document.file.is_kustomized)
    if reasons := list(reasons_against(workload, cleanup, namespace, target)):
        raise _NotServedError(reasons)
    env = dict(cleanup.env)
    if k6 != cleanup.settings.k6_containers:
        env["SWEEP_K6_CONTAINER"] = "\n".join(k6)
    if not target and cleanup.settings.detector == "process" and not rules(cleanup.settings, target):
        env.pop("SWEEP_K6_CONTAINER", None)  # without the API, a container's name has no use
    if not target and cleanup.settings.detector != "kubernetes":
        process, uid = workload.command(k6[0]).process, workload.user(k6[0])
        if process not in {None, "k6"}:
            env.setdefault("SWEEP_K6_PROCESS", str(process))
        if uid is not None:
            env.setdefault("SWEEP_K6_USER", str(uid))
    before = copy.deepcopy(case.document.manifest)
    comments = cleanup.settings.no_comments
    advised = list(advice(workload, k6, cleanup, manifests))
    added = add(workload, replace(cleanup, env=env), namespace, target)
    try:
        edits = case.changes(before, {} if comments else IN_THE_TEST)
    except SharedError as error:
        raise _NotServedError([f"{error}; write that part out in both places"]) from None
    case.document.file.edits += edits
    case.put_before(added, {} if comments else BESIDE_IT)
    return [f"{case.title} {served(cleanup, target, added)}", *(f"{case.title}: {each}" for each in advised)]


def _namespace(workload: Workload, settings: InjectSettings) -> str | None:
    return workload.namespace or settings.namespace


def _nothing_found(files: Sequence[File], wanted: Sequence[str]) -> str:
    seen = [
        f"{case.title} has {', '.join(str(each.get('name')) for each in case.workload.containers) or 'no containers'}"
        for case in _cases(files)
    ]
    if not seen:
        found = [document.manifest for file in files for document in file.documents]
        kinds = sorted({str(each.get("kind")) for each in found if isinstance(each, dict)})
        return f"these manifests contain no Pod, Job, CronJob or TestRun, only {', '.join(kinds) or 'nothing'}"
    for case in _cases(files):
        if first := case.workload.k6_first:
            return (
                f"{case.title}: k6 is an init container ({', '.join(first)}), which a sidecar does not wait for; make "
                "it a container, or add k6-sweep run as the init container after it (docs/kubernetes.md)"
            )
    named = " or ".join(wanted) or "k6"
    return f"no container is named {named}, and none has an image named k6: {'; '.join(seen)}; set --k6-container"
