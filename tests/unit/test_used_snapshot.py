"""A complete sweep marks its snapshot; other ends do not, and a failure to mark is only logged."""

import io
import json
from pathlib import Path

import pytest

from k6_sweep.commands.used_snapshot import note_use
from k6_sweep.log import open_log
from k6_sweep.report import Report
from k6_sweep.status import Status
from k6_sweep.sweep.read_snapshot import read_snapshot
from k6_sweep.sweep.snapshot import Notebook
from tests.support import settings_for


@pytest.mark.parametrize("status", Status)
def test_only_a_complete_sweep_uses_it(status: Status, tmp_path: Path) -> None:
    """Of all ends of a run, only a complete sweep marks the snapshot."""
    file, lines = tmp_path / "keys", io.StringIO()
    settings = settings_for("redis://redis", "--preserve-existing", str(file))
    Notebook(1).snapshot(settings.pattern, frozenset({"id"}), ()).write(file)
    note_use(settings, open_log("json", "debug", stream=lines), Report(status))
    assert bool(read_snapshot(file).used) == (status is Status.COMPLETE)
    assert lines.getvalue() == ""


def test_a_failure_is_logged_once(tmp_path: Path) -> None:
    """A snapshot that cannot be written now, as on a read-only mount, costs one line of the log."""
    lines = io.StringIO()
    settings = settings_for("redis://redis", "--preserve-existing", str(tmp_path / "none"))
    note_use(settings, open_log("json", "debug", stream=lines), Report(Status.COMPLETE))
    line = json.loads(lines.getvalue())
    assert (line["level"], line["event"]) == ("warning", "snapshot not marked as used")
    assert "No such file" in line["problem"]
    assert not (tmp_path / "none").exists()
