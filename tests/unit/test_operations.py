"""docs/operations.md agrees with the code: events, metrics, answers, alerts."""

import ast
import re
from pathlib import Path

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from k6_sweep.api.document import SWEPT
from k6_sweep.log import LogEvent
from k6_sweep.metrics import ServerMetrics
from k6_sweep.report import Report
from k6_sweep.status import Status
from k6_sweep.watch.outcome import K6Outcome
from tests.unit.test_metrics import SWEPT as REPORTED

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text()


def table_after(words: str) -> list[list[str]]:
    """Return the cells of the table with this first heading."""
    rows = PAGE.split(f"\n| {words} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return [re.split(r"\s*\|\s*", row.strip("|").strip()) for row in rows]


def fields_of_events() -> dict[str, set[str]]:
    """Return the fields that the code logs with each event."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "sidecar").rglob("*.py"):
        for call in (
            node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call) and node.args
        ):
            for part in ast.walk(call.args[0]):
                if isinstance(part, ast.Attribute) and ast.unparse(part.value) == "LogEvent":
                    found.setdefault(LogEvent[part.attr], set()).update(each.arg or "more" for each in call.keywords)
    return found


def test_events_are_documented() -> None:
    """The page lists exactly the events of the code, and the code logs each of them with the fields of the page."""
    listed: dict[str, set[str]] = {}
    for row in table_after("event"):
        for event in re.findall(r"`([^`]+)`", row[0]):
            listed[event] = set(re.findall(r"`(\w+)`", row[-1])) - {"null"}
    logged = fields_of_events()
    assert set(listed) == set(logged) | {LogEvent.SERVER_PROBLEM} == set(LogEvent)
    for event in set(logged) - {LogEvent.DONE, LogEvent.REQUEST}:  # the endpoint's tests check the fields of those two
        assert logged[event] <= listed[event], event
        shared = set().union(*(logged[each] for each in logged if listed[each] == listed[event]))
        assert listed[event] - shared <= {"traceback"}, event


def test_events_in_texts_exist() -> None:
    """Every event that a page or an example names in a line of the log is one of the code's."""
    found = [
        (path.relative_to(ROOT), event)
        for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.*"))
        for event in re.findall(r'\bevent"?\s*[:=]\s*"([^"]+)"', path.read_text())
    ]
    assert {event for _, event in found} >= {LogEvent.DONE, LogEvent.PATTERN_COUNTED}
    assert [each for each in found if each[1] not in set(LogEvent)] == []


def test_queries_ask_for_what_there_is() -> None:
    """The events and statuses in the queries for Loki and CloudWatch exist."""
    queries = "".join(re.findall(r"```(?:logql|text)\n(.*?)```", PAGE, re.DOTALL))
    events = set(re.findall(r'event="([^"]+)"', queries)) | set(re.findall(r'"event": "([^"]+)"', queries))
    assert events == {"done", "pattern counted", "request"}
    statuses = set(re.findall(r'status!~"([^"]+)"', queries).pop().split("|"))
    assert statuses == set(re.findall(r'"([\w-]+)"', queries.split("not in [")[1].split("]")[0]))
    assert statuses == {status for status in Status if status.exit_code == 0}


def test_metrics_are_exposed() -> None:
    """The page lists exactly the existing metrics, with their labels."""
    metrics = ServerMetrics()
    k6 = K6Outcome(seen=True, ended=True, exit_code=0)
    metrics.note_sweep(Report(Status.COMPLETE, sweep=REPORTED, k6=k6, owed=0))
    metrics.note_request("GET", "/healthz", 200)
    exposed: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(generate_latest(metrics.registry).decode()):
        if family.name.endswith("_created"):
            continue  # of the Prometheus client itself
        name = family.name + ("_total" if family.type == "counter" else "")
        exposed[name] = {label for sample in family.samples for label in sample.labels if label != "le"}
    listed = {row[0].strip("`| "): set(re.findall(r"`(\w+)`", row[1])) for row in table_after("metric")}
    assert listed == exposed


def test_answers_are_the_documents() -> None:
    """The page lists exactly the statuses that the OpenAPI document has for a sweep, and those of every server."""
    listed = {int(code) for row in table_after("answer") for code in re.findall(r"\d{3}", row[0])}
    announced = {int(code) for code in SWEPT}
    assert listed == announced | {403, 404, 405, 429}
    assert {status.http_code for status in Status} - {None} <= announced


def test_alerts_are_the_charts() -> None:
    """The page lists exactly the alerts of the chart."""
    rule = (ROOT / "charts" / "k6-sweep" / "templates" / "monitoring" / "prometheus-rule.yaml").read_text()
    assert [row[0].strip("| ")[2:].partition("`")[0] for row in table_after("alert")] == re.findall(
        r"alert: (\w+)", rule
    )
