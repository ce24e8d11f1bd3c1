"""The report, and the shortened message."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k6_sweep.commands.context import failure
from k6_sweep.coordination import Entry
from k6_sweep.errors import SettingsError
from k6_sweep.patterns import Pattern
from k6_sweep.report import Report
from k6_sweep.settings.all import SMALLEST_MESSAGE
from k6_sweep.status import Status
from k6_sweep.sweep.result import SweepReport
from k6_sweep.watch.outcome import K6Outcome
from tests.reports import SCHEMA, report_in

K6 = K6Outcome(seen=True, ended=True, exit_code=99, ended_at=datetime(2026, 11, 22, 7, tzinfo=UTC))


def swept(patterns: dict[str, int], shards: dict[str, int], errors: list[str]) -> SweepReport:
    return SweepReport(
        status=Status.COMPLETE,
        deleted=10**9,
        matched=10**9,
        remaining=0,
        remaining_by_pattern=dict.fromkeys(patterns, 0),
        preserved=0,
        preserved_by_pattern=dict.fromkeys(patterns, 0),
        exact=True,
        patterns=patterns,
        slots_done=16384,
        slots_asked=16384,
        shards=shards,
        passes=2,
        retries=0,
        seconds=1.314,
        errors=tuple(errors),
    )


def test_the_schema_names_the_statuses_and_each_field() -> None:
    """The schema has every status of the code, and every field of a whole report."""
    assert SCHEMA["properties"]["status"]["enum"] == [str(each) for each in Status]
    entry = Entry(run="a", who="load/a", since=0.0, patterns=(Pattern("a:*"),))
    report = Report(
        Status.HANDED_OVER, sweep=swept({"a:*": 3}, {"h:1": 3}, []), k6=K6, handed_over_to="load/b", tests=(entry,)
    )
    told = report_in(report.line())
    assert set(told) == set(SCHEMA["properties"])
    for field in ("k6", "tests"):
        part = SCHEMA["properties"][field]
        part = part.get("items", part)
        assert set(part["required"]) == set(part["properties"])


NAMES = st.dictionaries(st.text(max_size=40), st.integers(0, 10**9), max_size=60)


@given(NAMES, NAMES, st.lists(st.text(max_size=400), max_size=30), st.integers(SMALLEST_MESSAGE, 4096))
def test_the_message_fits_and_keeps_the_totals(
    patterns: dict[str, int], shards: dict[str, int], errors: list[str], limit: int
) -> None:
    """The message is always valid JSON within its limit, with status, totals and k6's end."""
    report = Report(Status.COMPLETE, sweep=swept(patterns, shards, errors), k6=K6)
    message = report.message(limit)
    assert len(message) <= limit
    told, whole = report_in(message), report_in(report.line())
    kept = [
        "status",
        "deleted",
        "matched",
        "remaining",
        "preserved",
        "exact",
        "dry_run",
        "slots",
        "shards",
        "passes",
        "k6",
    ]
    assert {name: told[name] for name in kept} == {name: whole[name] for name in kept}


def test_detail_goes_in_order() -> None:
    """A message drops all errors but one first, then the shards, then the patterns, then the last error."""
    patterns, shards = {f"pattern{i}:*": i for i in range(20)}, {f"redis-{i}:6379": i for i in range(20)}
    report = Report(Status.INCOMPLETE, sweep=swept(patterns, shards, ["x" * 300] * 10), k6=K6)
    shapes = []
    for limit in range(4096, SMALLEST_MESSAGE - 1, -1):
        told = report_in(report.message(limit))
        shape = (len(told["errors"]) > 2, "by_shard" in told, "patterns" in told, bool(told["errors"]))
        if shape not in shapes:
            shapes.append(shape)
    assert shapes == [
        (True, True, True, True),
        (False, True, True, True),
        (False, False, True, True),
        (False, False, False, True),
        (False, False, False, False),
    ]


def test_the_contracts_fields() -> None:
    """A complete report has the fields that the contract promises, with k6's end in words."""
    told = report_in(Report(Status.COMPLETE, sweep=swept({"a:*": 3}, {"h:1": 3}, []), k6=K6).line())
    assert told["k6"] == {
        "ended": True,
        "detector": "process",
        "exit_code": 99,
        "reason": "thresholds failed",
        "ended_at": "2026-11-22T07:00:00.000Z",
    }
    assert (told["slots"], told["shards"], told["seconds"], told["patterns"]) == ("16384/16384", 1, 1.31, {"a:*": 3})


def test_the_last_word_of_a_killed_sweep() -> None:
    """From its first moment, a sweep's message shows that its counts are not exact, because a kill may end it."""
    assert Report(Status.SWEEPING).as_dict()["exact"] is False
    assert "exact" not in Report(Status.WAITING).as_dict()


@pytest.mark.parametrize(
    ("status", "code"), [(status, status.exit_code) for status in Status if status.exit_code is not None]
)
def test_exit_codes(status: Status, code: int) -> None:
    """Each status has its exit code; the policy `ignore` turns only 3 to 6 into 0."""
    assert Report(status).exit_code("fail") == code
    assert Report(status).exit_code("ignore") == (0 if 3 <= code <= 6 else code)


def test_settings_are_to_blame() -> None:
    """The exit code of bad settings differs from that of an internal fault, and no policy turns it into 0."""
    report = failure(SettingsError(["--pattern is missing"]))
    assert (report.status, report.errors) == (Status.ERROR, ("--pattern is missing",))
    assert {report.exit_code("fail"), report.exit_code("ignore")} == {2}


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (0, "passed"),
        (107, "script exception"),
        (127, "command not found"),
        (139, "ended by signal 11"),
        (192, "ended by signal 64"),
        (193, "exit code 193"),
        (255, "error without a code"),
        (5, "exit code 5"),
        (None, None),
    ],
)
def test_reasons(code: int | None, reason: str | None) -> None:
    """Every exit code of k6 has a reason in words."""
    assert K6Outcome(seen=True, ended=True, exit_code=code).reason == reason
