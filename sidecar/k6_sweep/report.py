"""The report: one JSON object, whole on standard output and shortened in the termination message."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from k6_sweep.coordination import Entry
from k6_sweep.log import Log, LogEvent
from k6_sweep.status import Status
from k6_sweep.sweep.result import Progress, SweepReport
from k6_sweep.watch.outcome import K6Outcome

_SHORT_ERROR: Final = 200


@dataclass(frozen=True)
class Counts:
    """The counts of one sweep, or of all sweeps of a server."""

    deleted: int = 0
    matched: int = 0
    remaining: int | None = None
    """Keys that the last pass still found; None if no pass verified."""
    slots: str | None = None
    """Slots done of the requested ones: `5/16384`; None if the sweep counts no slots."""


@dataclass(frozen=True)
class Report:
    """The result of a run, or its progress."""

    status: Status
    dry_run: bool = False
    sweep: SweepReport | None = None
    progress: Progress | None = None
    k6: K6Outcome | None = None
    totals: Counts = Counts()
    """The counts of all sweeps of a server, used if there is neither a sweep nor progress."""
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    """What is probably a mistake, although the status is right."""
    handed_over_to: str | None = None
    """The test whose watcher will sweep."""
    owed: int | None = None
    """Number of other tests that have ended, whose sweeps are owed; None if the register was not read."""
    tests: tuple[Entry, ...] | None = None
    """The register of tests, for a command that shows it."""
    code: int | None = None
    """The exit code, if the status alone does not decide it."""

    def exit_code(self, failure_policy: str) -> int:
        """Return the exit code; the policy `ignore` turns 3 to 6 into 0."""
        forgiven = failure_policy == "ignore" and self.status.is_forgivable
        return 0 if forgiven else self.code or self.status.exit_code or 0

    @property
    def counts(self) -> Counts:
        """The counts, final or so far."""
        sweep, progress = self.sweep, self.progress
        if sweep:
            return Counts(sweep.deleted, sweep.matched, sweep.remaining, _share(sweep.slots_done, sweep.slots_asked))
        if progress:
            return Counts(progress.deleted, progress.matched, slots=_share(progress.slots_done, progress.slots_asked))
        return self.totals

    @property
    def problems(self) -> tuple[str, ...]:
        """All problems, those of the sweep last."""
        return self.errors + (self.sweep.errors if self.sweep else ())

    @property
    def all_warnings(self) -> tuple[str, ...]:
        """All warnings, those of the sweep last."""
        return self.warnings + (self.sweep.warnings if self.sweep else ())

    def as_dict(self) -> dict[str, Any]:
        """Return the whole report as a dict that JSON can encode."""
        sweep, progress, counts = self.sweep, self.progress, self.counts
        body: dict[str, Any] = {"status": self.status, "deleted": counts.deleted, "matched": counts.matched}
        if sweep:
            body |= {
                "remaining": counts.remaining,
                "preserved": sweep.preserved,
                "exact": sweep.exact,
                "dry_run": self.dry_run,
                "patterns": dict(sweep.patterns),
                "slots": counts.slots,
                "shards": len(sweep.shards),
                "by_shard": dict(sweep.shards),
                "passes": sweep.passes,
                "seconds": round(sweep.seconds, 2),
            }
        elif progress:
            body |= {
                "exact": False,
                "dry_run": self.dry_run,
                "patterns": dict(progress.patterns),
                "slots": counts.slots,
                "passes": progress.pass_number,
                "seconds": round(progress.seconds, 2),
            }
        else:
            if self.status is Status.SWEEPING:  # a kill may make this the last word
                body["exact"] = False
            body["dry_run"] = self.dry_run
        if self.k6:
            at = self.k6.ended_at
            body["k6"] = {
                "ended": self.k6.ended,
                "detector": self.k6.detector,
                "exit_code": self.k6.exit_code,
                "reason": self.k6.reason,
                "ended_at": at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z" if at else None,
            }
        if self.handed_over_to:
            body["handed_over_to"] = self.handed_over_to
        if self.tests is not None:
            body["tests"] = [_registered(entry) for entry in self.tests]
        body["errors"] = list(self.problems)
        body["warnings"] = list(self.all_warnings)
        return body

    def line(self) -> str:
        """Return the whole report as one line of JSON."""
        return _json(self.as_dict())

    def message(self, limit: int) -> bytes:
        """Return the report in at most `limit` bytes of JSON, leaving out detail: errors, then shards, then patterns.

        The first error and the first warning stay longest, shortened. The limit is at least settings.SMALLEST_MESSAGE,
        which is always enough for status, totals and k6's end.
        """
        for body in _shorter_and_shorter(self.as_dict()):
            text = _json(body).encode()
            if len(text) <= limit:
                break
        return text


def _registered(entry: Entry) -> dict[str, Any]:
    since = datetime.fromtimestamp(entry.since, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    patterns = [pattern.text for pattern in entry.patterns]
    return {
        "who": entry.who,
        "run": entry.run,
        "state": entry.state,
        "since": since,
        "patterns": patterns,
        "sweeps": entry.sweeps,
    }


def log_end(log: Log, report: Report) -> None:
    """Log each problem and the report: at level error for a failure, otherwise at level info."""
    say = log.error if report.status.is_failure else log.info
    body = report.as_dict()
    for problem in body.pop("errors"):
        say(LogEvent.PROBLEM, problem=problem)
    for problem in body.pop("warnings"):
        log.warning(LogEvent.WARNING, problem=problem)
    say(LogEvent.DONE, **body)


def _share(done: int | None, asked: int | None) -> str | None:
    return None if done is None or asked is None else f"{done}/{asked}"


def _json(body: Mapping[str, Any]) -> str:
    # A pattern or an error may hold bytes that are not text; escaped, they are valid everywhere.
    return json.dumps(body, separators=(",", ":"), ensure_ascii=True)


def _shorter_and_shorter(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the whole report, then versions with less and less detail."""
    yield body
    for sentences in ("errors", "warnings"):
        if len(found := body[sentences]) > 1 or len("".join(found)) > _SHORT_ERROR:
            more = [f"and {len(found) - 1} more"] if len(found) > 1 else []
            body |= {sentences: [found[0][:_SHORT_ERROR], *more]}
            yield body
    for detail in ("by_shard", "patterns", "tests"):
        body.pop(detail, None)
        yield body
    yield body | {"warnings": []}
    yield body | {"errors": [], "warnings": []}
