"""The metrics for Prometheus: names, labels and values, and no sample for an unknown value."""

from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from k6_sweep.metrics import ServerMetrics, write
from k6_sweep.report import Report
from k6_sweep.status import Status
from k6_sweep.sweep.result import SweepReport
from k6_sweep.watch.outcome import K6Outcome

SWEPT = SweepReport(
    status=Status.COMPLETE,
    deleted=70,
    matched=75,
    remaining=0,
    remaining_by_pattern={"a:*": 0, 'q"\n\\:*': 0},
    preserved=3,
    preserved_by_pattern={"a:*": 3, 'q"\n\\:*': 0},
    exact=True,
    patterns={"a:*": 50, 'q"\n\\:*': 25},
    slots_done=8192,
    slots_asked=16384,
    shards={"r0:6379": 30, "r1:6379": 40},
    passes=2,
    retries=1,
    seconds=1.5,
)

Samples = dict[tuple[str, str], float]


def samples(text: str) -> Samples:
    """Return the values by name and label value; Prometheus's own parser checks the names."""
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "k6-sweep.prom"


def written(report: Report, file: Path) -> Samples:
    write(report, file)
    return samples(file.read_text())


def test_a_run_in_full(file: Path) -> None:
    """A complete run exposes each count under its name, by pattern or by shard."""
    k6 = K6Outcome(seen=True, ended=True, exit_code=99)
    found = written(Report(Status.COMPLETE, sweep=SWEPT, k6=k6), file)
    last = "k6_sweep_last_"
    times = {name: value for name, value in found.items() if name[0].endswith("_timestamp_seconds")}
    assert times.keys() == {(f"{last}end_timestamp_seconds", ""), (f"{last}success_timestamp_seconds", "")}
    statuses = {name[1]: value for name, value in found.items() if name[0] == f"{last}status"}
    assert [name for name, value in statuses.items() if value] == ["complete"]
    rest = {name: value for name, value in found.items() if name not in times and name[0] != f"{last}status"}
    assert rest == {
        (f"{last}deleted_keys", "r0:6379"): 30,
        (f"{last}deleted_keys", "r1:6379"): 40,
        (f"{last}matched_keys", "a:*"): 50,
        (f"{last}matched_keys", 'q"\n\\:*'): 25,
        (f"{last}preserved_keys", "a:*"): 3,
        (f"{last}preserved_keys", 'q"\n\\:*'): 0,
        (f"{last}remaining_keys", "a:*"): 0,
        (f"{last}remaining_keys", 'q"\n\\:*'): 0,
        (f"{last}duration_seconds", ""): 1.5,
        (f"{last}warnings", ""): 0,
        (f"{last}passes", ""): 2,
        (f"{last}retries", ""): 1,
        (f"{last}exact", ""): 1,
        (f"{last}covered_slots_ratio", ""): 0.5,
        (f"{last}k6_exit_code", ""): 99,
    }


def test_what_is_not_known_has_no_sample(file: Path) -> None:
    """Unknown counts, a missing success and an unknown exit code have no sample."""
    report = Report(
        Status.INCOMPLETE,
        sweep=replace(SWEPT, remaining_by_pattern=None, slots_done=None),
        k6=K6Outcome(seen=True, ended=False),
    )
    names = {name for name, _ in written(report, file)}
    unknown = {"remaining_keys", "covered_slots_ratio", "k6_exit_code", "success_timestamp_seconds"}
    assert not {f"k6_sweep_last_{name}" for name in unknown} & names
    refused = written(Report(Status.REFUSED), file)
    assert {name for name, _ in refused} == {"k6_sweep_last_status", "k6_sweep_last_end_timestamp_seconds"}


@pytest.mark.parametrize(
    ("report", "kind"),
    [
        (Report(Status.DRY_RUN, dry_run=True, sweep=SWEPT), "dry_run_"),
        (Report(Status.REFUSED, dry_run=True), "dry_run_"),
        (Report(Status.HANDED_OVER, sweep=SWEPT), "no_sweep_"),
        (Report(Status.SKIPPED), "no_sweep_"),
    ],
)
def test_what_was_not_to_sweep_replaces_no_sweep(file: Path, report: Report, kind: str) -> None:
    """A dry run, a hand-over and a skipped sweep have metrics of their own, in a file and at an endpoint."""
    before = written(Report(Status.INCOMPLETE, sweep=SWEPT), file)
    after = written(report, file)
    assert before.items() < after.items()
    new = {name for name, _ in after.keys() - before.keys()}
    assert f"k6_sweep_last_{kind}end_timestamp_seconds" in new
    assert all(name.startswith(f"k6_sweep_last_{kind}") for name in new)
    assert written(report, file).keys() == after.keys()
    again = written(Report(Status.COMPLETE, sweep=SWEPT), file)
    assert again["k6_sweep_last_status", "complete"] == 1
    assert again[f"k6_sweep_last_{kind}status", report.status] == 1

    server = ServerMetrics()
    server.note_sweep(Report(Status.INCOMPLETE, sweep=SWEPT))
    first = samples(generate_latest(server.registry).decode())
    if report.status.http_code:  # a sweep of the endpoint may end so
        server.note_sweep(report)
        then = samples(generate_latest(server.registry).decode())
        assert {name: then[name] for name in first if name[0].startswith("k6_sweep_last_")} == {
            name: value for name, value in first.items() if name[0].startswith("k6_sweep_last_")
        }


def test_a_pattern_may_hold_anything(file: Path) -> None:
    """Bytes of a pattern that are not text are escaped, so that Prometheus can read the file."""
    odd = replace(SWEPT, patterns={"a\udcff:*": 1})
    assert written(Report(Status.COMPLETE, sweep=odd), file)["k6_sweep_last_matched_keys", "a\\udcff:*"] == 1


def test_a_server_adds_up() -> None:
    """A server counts from its start, has each status at 0 first, and keeps its last success after a failure."""
    metrics = ServerMetrics()
    assert samples(generate_latest(metrics.registry).decode())["k6_sweep_sweeps_total", "failed"] == 0
    for report in (Report(Status.COMPLETE, sweep=SWEPT), Report(Status.COMPLETE, sweep=SWEPT), Report(Status.FAILED)):
        metrics.note_sweep(report)
    metrics.note_request("GET", "/healthz", 200)
    found = samples(generate_latest(metrics.registry).decode())
    assert (found["k6_sweep_sweeps_total", "complete"], found["k6_sweep_sweeps_total", "failed"]) == (2, 1)
    assert found["k6_sweep_deleted_keys_total", ""] == 140
    assert (found["k6_sweep_duration_seconds_count", ""], found["k6_sweep_duration_seconds_sum", ""]) == (2, 3.0)
    assert found["k6_sweep_http_requests_total", "200,GET,/healthz"] == 1
    assert found["k6_sweep_last_status", "failed"] == 1
    assert found["k6_sweep_last_success_timestamp_seconds", ""] <= found["k6_sweep_last_end_timestamp_seconds", ""]


def test_earlier_sweeps_give_way() -> None:
    """Of the sweeps before a start, the newest of each kind is shown, without counts, until the server sweeps."""
    metrics = ServerMetrics()
    last = "k6_sweep_last_"
    for status, ended in ((Status.INCOMPLETE, 30.0), (Status.COMPLETE, 20.0), (Status.COMPLETE, 10.0)):
        metrics.note_earlier(Report(status), ended)
    metrics.note_earlier(Report(Status.DRY_RUN, dry_run=True), 5.0)
    found = samples(generate_latest(metrics.registry).decode())
    assert (found[f"{last}status", "incomplete"], found[f"{last}end_timestamp_seconds", ""]) == (1, 30)
    assert found[f"{last}success_timestamp_seconds", ""] == 20
    assert found[f"{last}dry_run_end_timestamp_seconds", ""] == 5
    assert found["k6_sweep_sweeps_total", "incomplete"] == 0
    assert not [name for name, _ in found if name in {f"{last}deleted_keys", f"{last}exact"}]
    metrics.note_sweep(Report(Status.REFUSED))
    metrics.note_earlier(Report(Status.COMPLETE), 40.0)
    found = samples(generate_latest(metrics.registry).decode())
    assert (found[f"{last}status", "refused"], found[f"{last}success_timestamp_seconds", ""]) == (1, 20)
