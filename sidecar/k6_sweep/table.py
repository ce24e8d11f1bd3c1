"""Shows a report to a person: a table of the counts, the result in one line, problems, and what to do.

It is plain text and not rich's, because the image and an installation without extras have no rich.
"""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from k6_sweep.coordination import Entry
from k6_sweep.log import on_one_line, painted
from k6_sweep.report import Report
from k6_sweep.status import BAD_SETTINGS, Status
from k6_sweep.sweep.result import SweepReport

_UNKNOWN: Final = "?"
_NEXT: Final[Mapping[Status, str]] = {
    Status.DRY_RUN: "Nothing was deleted, because --dry-run only counts.",
    Status.SKIPPED: "Nothing was deleted, because of --when.",
    Status.HANDED_OVER: "Another test is running. Its watcher will delete the keys of both when it has ended.",
    Status.INCOMPLETE: "Keys may remain. When k6 has ended, run `k6-sweep run` with the same settings.",
    Status.REFUSED: "Nothing was deleted, because a guard refused the sweep.",
    Status.FAILED: "Nothing was deleted. Correct the cause, and test it: run `k6-sweep check` with the same settings.",
    Status.ERROR: "This is a defect of k6-sweep: please report it, with the log.",
}
"""What a person can do, where the problems alone do not say it."""


def as_text(report: Report, command: str, width: int, coloured: bool) -> str:
    """Return the report of a command as lines for a terminal of this width."""
    if report.code == BAD_SETTINGS:
        return "\n".join(_usage(report, command, width)) + "\n"
    return "\n".join(_lines(report, command, width, coloured)) + "\n"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """Yield a heading and a text for each row: the first cell on the left, the others on the right.

    A first cell that is too long for the width is on a line of its own, so that no number is cut or wrapped.
    """
    sizes = [max(map(len, column)) for column in zip(headings[1:], *(row[1:] for row in rows), strict=True)]
    room = max(len(headings[0]), width - sum(sizes) - 2 * len(sizes))
    first = min(room, max(len(name) for name, *_ in (headings, *rows)))
    for name, *cells in (headings, *rows):
        numbers = "".join(f"  {cell:>{size}}" for cell, size in zip(cells, sizes, strict=True))
        yield f"{name:{first}}{numbers}" if len(name) <= first else f"{name}\n{'':{first}}{numbers}"


def _usage(report: Report, command: str, width: int) -> Iterator[str]:
    yield f"k6-sweep {command}: the settings are not valid; nothing was deleted"
    yield from _listed(report.problems, width)
    yield f"`k6-sweep {command} --help` explains the settings"


def _lines(report: Report, command: str, width: int, coloured: bool) -> Iterator[str]:
    if report.sweep:
        headings, rows = _recorded(report.sweep) if command == "snapshot" else _counted(report.sweep)
        heading, *lines = table(headings, rows, width)
        yield painted(heading, "1", coloured)
        yield from lines
        yield ""
    if report.tests:
        heading, *lines = table(*_registered(report.tests), width)
        yield painted(heading, "1", coloured)
        yield from lines
        yield ""
    elif report.tests is not None and command == "tests":
        yield "no test is registered"
    colour = "31" if report.status.is_failure else "32"
    yield "  ".join([painted(report.status, colour, coloured), *_facts(report)])
    if report.k6 and report.k6.ended:
        reason = f" ({report.k6.reason})" if report.k6.reason else ""
        code = report.k6.exit_code
        yield f"k6 ended with exit code {code}{reason}" if code is not None else f"k6 ended, exit code unknown{reason}"
    if report.handed_over_to:
        yield f"the watcher of {report.handed_over_to} will sweep"
    yield from _listed(report.problems, width)
    yield from _listed([f"warning: {warning}" for warning in report.all_warnings], width)
    if command != "snapshot" and report.status in _NEXT:
        yield from textwrap.wrap(_NEXT[report.status], width)


def _registered(tests: Sequence[Entry]) -> tuple[Sequence[str], list[Sequence[str]]]:
    def row(entry: Entry) -> Sequence[str]:
        since = datetime.fromtimestamp(entry.since, UTC).strftime("%Y-%m-%d %H:%M:%S")
        patterns = ", ".join(pattern.text for pattern in entry.patterns)
        return on_one_line(entry.who), entry.state, since, on_one_line(patterns)

    return ("test", "state", "since (UTC)", "patterns"), [row(entry) for entry in tests]


def _facts(report: Report) -> Iterator[str]:
    sweep, progress = report.sweep, report.progress
    if sweep:
        if sweep.slots_done is not None:
            yield f"{sweep.slots_done:,}/{sweep.slots_asked:,} slots"
        yield f"{sweep.seconds:.2f} s"
        yield "exact" if sweep.exact else "not exact"
    elif progress or report.status is Status.STOPPED:
        yield f"{report.counts.deleted:,} keys deleted"


def _counted(sweep: SweepReport) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Return headings and rows of a sweep; a number that is not certain is `?`."""
    # The last pass of an incomplete sweep has not seen everything, and may have deleted what it found.
    left = None if sweep.status is Status.INCOMPLETE else sweep.remaining_by_pattern
    rows: list[Sequence[str]] = [
        (
            on_one_line(pattern),
            f"{matched:,}",
            _number(_deleted(sweep, matched)),
            _number(sweep.preserved_by_pattern.get(pattern)),
            _number(left.get(pattern) if left is not None else None),
        )
        for pattern, matched in sweep.patterns.items()
    ]
    if len(rows) > 1:
        remaining = None if left is None else sum(left.values())
        totals = (sweep.matched, sweep.deleted, sweep.preserved, remaining)
        rows.append(("all", *map(_number, totals)))
    return ("pattern", "matched", "deleted", "spared", "left"), rows


def _deleted(sweep: SweepReport, matched: int) -> int | None:
    """Return how many keys of the pattern with this number of matches were deleted; None if that is not certain."""
    if len(sweep.patterns) == 1 or not sweep.deleted:
        return sweep.deleted
    # One UNLINK takes keys of several patterns, so its answer has no number for each of them.
    return matched if sweep.deleted == sweep.matched else None


def _recorded(snapshot: SweepReport) -> tuple[Sequence[str], list[Sequence[str]]]:
    rows: list[Sequence[str]] = [
        (on_one_line(pattern), f"{matched:,}") for pattern, matched in snapshot.patterns.items()
    ]
    if len(rows) > 1:
        rows.append(("all", f"{snapshot.matched:,}"))
    return ("pattern", "recorded"), rows


def _number(count: int | None) -> str:
    return _UNKNOWN if count is None else f"{count:,}"


def _listed(problems: Sequence[str], width: int) -> Iterator[str]:
    for problem in problems:
        # Not at hyphens: options have them.
        yield from textwrap.wrap(
            on_one_line(problem),
            width,
            initial_indent="  - ",
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
