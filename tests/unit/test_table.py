"""The report that a person reads."""

from dataclasses import replace

import pytest

from k6_sweep.coordination import Entry
from k6_sweep.patterns import Pattern
from k6_sweep.report import Counts, Report
from k6_sweep.status import BAD_SETTINGS, Status
from k6_sweep.sweep.result import SweepReport
from k6_sweep.table import as_text
from k6_sweep.watch.outcome import K6Outcome

SWEPT = SweepReport(
    status=Status.COMPLETE,
    deleted=1_234_567,
    matched=1_234_567,
    remaining=0,
    remaining_by_pattern={"stream:*": 0, "dedupe:*": 0},
    preserved=20,
    preserved_by_pattern={"stream:*": 0, "dedupe:*": 20},
    exact=True,
    patterns={"stream:*": 1_000_000, "dedupe:*": 234_567},
    slots_done=16384,
    slots_asked=16384,
    shards={"redis-0:6379": 1_234_567},
    passes=2,
    retries=0,
    seconds=1.314,
)
K6 = K6Outcome(seen=True, ended=True, exit_code=99)


def lines(report: Report, command: str = "run", width: int = 60) -> list[str]:
    return as_text(report, command, width, coloured=False).splitlines()


def test_a_complete_sweep() -> None:
    """A table has the counts of each pattern, and one line has the result; after `watch`, another line has k6's end."""
    assert lines(Report(Status.COMPLETE, sweep=SWEPT, k6=K6), "watch") == [
        "pattern     matched    deleted  spared  left",
        "stream:*  1,000,000  1,000,000       0     0",
        "dedupe:*    234,567    234,567      20     0",
        "all       1,234,567  1,234,567      20     0",
        "",
        "complete  16,384/16,384 slots  1.31 s  exact",
        "k6 ended with exit code 99 (thresholds failed)",
    ]


def test_an_unknown_exit_code() -> None:
    """If nothing reports k6's exit code, the line about its end says so."""
    assert lines(Report(Status.COMPLETE, k6=K6Outcome(seen=True, ended=True)), "watch") == [
        "complete",
        "k6 ended, exit code unknown",
    ]


def test_an_uncertain_number_is_a_question_mark() -> None:
    """Deletes are not divided among patterns if some keys had expired; what an incomplete sweep left is unknown."""
    sweep = replace(SWEPT, status=Status.INCOMPLETE, deleted=1_234_000, slots_done=5, exact=False, errors=("a reason",))
    shown = lines(Report(Status.INCOMPLETE, sweep=sweep))
    assert shown[1].split() == ["stream:*", "1,000,000", "?", "0", "?"]
    assert shown[3].split() == ["all", "1,234,567", "1,234,000", "20", "?"]
    assert shown[5:7] == ["incomplete  5/16,384 slots  1.31 s  not exact", "  - a reason"]
    assert " ".join(shown[7:]) == "Keys may remain. When k6 has ended, run `k6-sweep run` with the same settings."
    one = replace(sweep, patterns={"stream:*": 1_234_567})
    assert lines(Report(Status.INCOMPLETE, sweep=one))[1].split() == ["stream:*", "1,234,567", "1,234,000", "0", "?"]


def test_a_dry_run_deletes_nothing() -> None:
    """A dry run shows 0 deleted keys, and all matching keys as left."""
    sweep = replace(SWEPT, status=Status.DRY_RUN, deleted=0, remaining_by_pattern=SWEPT.patterns)
    shown = lines(Report(Status.DRY_RUN, dry_run=True, sweep=sweep))
    assert shown[3].split() == ["all", "1,234,567", "0", "20", "1,234,567"]
    assert shown[-1] == "Nothing was deleted, because --dry-run only counts."


def test_no_number_is_cut_in_a_narrow_window() -> None:
    """At 60 columns and fewer, a long pattern has a line of its own, and no other line is longer than the window."""
    patterns = {"a-long-prefix-of-a-load-test:{tenant}:*": 1_000_000_000, "b:*": 1}
    none = dict.fromkeys(patterns, 0)
    sweep = replace(SWEPT, patterns=patterns, preserved_by_pattern=none, remaining_by_pattern=none)
    for width in (60, 55):
        shown = lines(Report(Status.COMPLETE, sweep=sweep), width=width)
        assert "a-long-prefix-of-a-load-test:{tenant}:*" in shown
        assert max(map(len, shown)) <= width
        assert sum("1,000,000,000" in line for line in shown) == 1


def test_control_characters_are_escaped() -> None:
    """A pattern or a problem cannot write escape codes or lines of its own to the terminal."""
    nasty = "test:\x1b[31m\n*\udcff"
    sweep = replace(SWEPT, patterns={nasty: 1}, errors=(nasty,))
    shown = as_text(Report(Status.COMPLETE, sweep=sweep), "run", 60, coloured=False)
    assert shown.count(r"test:\x1b[31m\n*\udcff") == 2
    assert shown.replace("\n", "").isprintable()


@pytest.mark.parametrize("coloured", [True, False])
def test_colours_only_if_asked(coloured: bool) -> None:
    """The status has a colour only on request: red for a failure, green for a success."""
    assert ("\x1b[31mrefused\x1b[0m" in as_text(Report(Status.REFUSED), "run", 60, coloured)) is coloured
    assert ("\x1b[32mcomplete\x1b[0m" in as_text(Report(Status.COMPLETE, sweep=SWEPT), "run", 60, coloured)) is coloured


def test_commands_without_a_sweep() -> None:
    """`check` shows its warnings, `serve` its total, `snapshot` the recorded keys."""
    assert lines(Report(Status.READY, warnings=("slow",)), "check") == ["ready", "  - warning: slow"]
    assert lines(Report(Status.STOPPED, totals=Counts(deleted=1234)), "serve") == ["stopped  1,234 keys deleted"]
    assert lines(Report(Status.COMPLETE, sweep=replace(SWEPT, deleted=0)), "snapshot")[:4] == [
        "pattern    recorded",
        "stream:*  1,000,000",
        "dedupe:*    234,567",
        "all       1,234,567",
    ]


def test_bad_settings() -> None:
    """Problems with the settings are a list, with the command's help at the end."""
    long = "--redis-url (SWEEP_REDIS_URL) is required: the address of Redis"
    assert lines(Report(Status.ERROR, errors=("one", long), code=BAD_SETTINGS)) == [
        "k6-sweep run: the settings are not valid; nothing was deleted",
        "  - one",
        "  - --redis-url (SWEEP_REDIS_URL) is required: the address",
        "    of Redis",
        "`k6-sweep run --help` explains the settings",
    ]


@pytest.mark.parametrize("status", [status for status in Status if status.is_failure])
def test_each_failure_has_what_to_do(status: Status) -> None:
    """Each failure has a line with what to do; the reason for `unseen` has it already."""
    shown = lines(Report(status, errors=("a reason",)))
    assert shown[:2] == [status, "  - a reason"]
    assert bool(shown[2:]) is (status is not Status.UNSEEN)


def test_the_register_of_tests() -> None:
    """`tests` shows a table of who, since when and with which patterns, or that there is none; `check` shows it too."""
    entries = (
        Entry("a", "load/k6-1", 0.0, (Pattern("test:*"), Pattern("a:*"))),
        Entry("b", "laptop", 60.0, (Pattern("b:*"),), owed=True),
    )
    table = [
        "test         state          since (UTC)     patterns",
        "load/k6-1  running  1970-01-01 00:00:00  test:*, a:*",
        "laptop        owed  1970-01-01 00:01:00          b:*",
        "",
        "ready",
    ]
    for command in ("tests", "check"):
        assert lines(Report(Status.READY, tests=entries), command) == table
    assert lines(Report(Status.READY, tests=()), "tests") == ["no test is registered", "ready"]
    assert lines(Report(Status.READY, tests=()), "check") == ["ready"]


def test_a_hand_over() -> None:
    """After a hand-over, a person sees whose watcher will sweep."""
    said = lines(Report(Status.HANDED_OVER, handed_over_to="load/k6-2 (since 10:00)"), "watch", width=100)
    assert said[:2] == ["handed-over", "the watcher of load/k6-2 (since 10:00) will sweep"]
