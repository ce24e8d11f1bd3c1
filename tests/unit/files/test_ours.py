"""Only empty files and texts of k6-sweep are written over."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest

from k6_sweep.files.ours import check_ours, is_metrics, is_report
from k6_sweep.files.regular import UnusableFileError
from k6_sweep.metrics import ServerMetrics
from k6_sweep.report import Report
from k6_sweep.status import Status
from tests.unit.test_metrics import SWEPT

REPORT = Report(Status.COMPLETE, sweep=SWEPT)


@pytest.mark.parametrize("status", Status)
def test_every_report_is_recognized(status: Status) -> None:
    """A message of any status, shortened or whole, padded or not, is k6-sweep's own."""
    for report in (Report(status), Report(status, sweep=SWEPT, errors=("x" * 3000,))):
        assert is_report(report.message(512))
        assert is_report(report.line().encode() + b"   \n")
    assert is_report(b"")
    assert is_report(b" " * 2048)


@pytest.mark.parametrize(
    "content",
    [
        b"my notes\n",
        b'{"status":"complete"}',
        b'{"status":"open","deleted":0}',
        b'{"status":["complete"],"deleted":0}',
        b'{"status":"complete","deleted":false,"title":"buy milk"}',
        b"[1]",
        b"\x00" * 100,
        b"\xff\xfe",
        b"[" * 100_000,
        (REPORT.line() + "\n" + REPORT.line()).encode(),  # a collection of reports
    ],
)
def test_other_texts_are_not_reports(content: bytes) -> None:
    """A text of somebody else, JSON or not, is no report; neither are two reports."""
    assert not is_report(content)
    assert not is_metrics(content)


@given(st.text(max_size=20))
def test_metrics_are_recognized(pattern: str) -> None:
    """Metrics with any pattern in their labels are k6-sweep's own; with one foreign line they are not."""
    metrics = ServerMetrics()
    metrics.note_sweep(Report(Status.COMPLETE, sweep=SWEPT.__class__(**{**vars(SWEPT), "patterns": {pattern: 1}})))
    text = generate_latest(metrics.registry)
    assert is_metrics(text)
    assert not is_metrics(text + b"node_load1 1\n")


def test_a_file_that_is_not_there_may_be_written(tmp_path: Path) -> None:
    """A missing file passes; a foreign one does not, also through a link, and neither is touched."""
    check_ours(tmp_path / "none", is_report)
    foreign = tmp_path / "foreign"
    foreign.write_text("my notes")
    (tmp_path / "link").symlink_to(foreign)
    for path in (foreign, tmp_path / "link"):
        with pytest.raises(UnusableFileError, match="not k6-sweep's"):
            check_ours(path, is_report)
    assert foreign.read_text() == "my notes"
    assert not (tmp_path / "none").exists()


def test_a_very_long_file_is_not_ours(tmp_path: Path) -> None:
    """A file that is longer than any text of k6-sweep is refused, even if it is blank."""
    (tmp_path / "long").write_bytes(b" " * 2 * 1024 * 1024)
    with pytest.raises(UnusableFileError):
        check_ours(tmp_path / "long", is_report)
    (tmp_path / "report").write_text(json.dumps({"status": "complete", "deleted": 0}))
    check_ours(tmp_path / "report", is_report)
