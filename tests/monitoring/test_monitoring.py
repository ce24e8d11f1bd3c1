"""The metrics of k6-sweep work with Prometheus: pushes, scrapes, dashboard and alerts."""

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client import CollectorRegistry, push_to_gateway

from k6_sweep.demo.servers import LocalCluster, Node, find_redis_server, free_port, local_cluster
from k6_sweep.metrics import push
from k6_sweep.names import PROJECT
from k6_sweep.report import Report
from k6_sweep.status import Status
from k6_sweep.watch.outcome import K6Outcome
from tests.acceptance.command import k6_sweep
from tests.chart.helm import CHART, ROOT, Manifest, render, written
from tests.endpoint.served import Served, served
from tests.monitoring.servers import Web, prometheus, promtool, pushgateway
from tests.support import running_redis, until
from tests.unit.test_metrics import SWEPT

DASHBOARD = CHART / "dashboards" / "k6-sweep.json"
VALUES = {
    "k6": {"enabled": False},
    "monitoring": {
        "dashboard": {"enabled": True, "labels": {"a": "b"}, "annotations": {"folder": "load"}},
        "prometheusRule": {
            "enabled": True,
            "labels": {"release": "mine"},
            "noSweepHours": 24,
            "severity": "page",
        },
    },
}


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Manifest]:
    return render(written(tmp_path_factory.mktemp("values"), VALUES)).of


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with pushgateway(tmp_path_factory.mktemp("gateway")) as web:
        yield web


@pytest.fixture(scope="module")
def redis_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running_redis(tmp_path_factory.mktemp("redis")) as node:
        yield node


def queries() -> list[tuple[str, str]]:
    """Return the dashboard's queries, with values for their variables, each with its panel's title."""
    found = []
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            query = target["expr"].replace("$namespace", ".*").replace("$__rate_interval", "1m")
            found.append((panel["title"], query))
    return found


def _unknown(ours: object, theirs: Any, path: str = "") -> Iterator[str]:
    """Yield each place where the second value lacks what the first one has."""
    if isinstance(ours, dict):
        for name, value in ours.items():
            yield from _unknown(value, theirs[name], f"{path}.{name}") if name in theirs else [f"{path}.{name}"]
    elif isinstance(ours, list):
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from _unknown(one, other, f"{path}[{number}]")
    elif ours != theirs:
        yield path


def test_the_dashboard_is_grafanas(manifests: Callable[[str], Manifest]) -> None:
    """Grafana's own types know each field of the dashboard, and the ConfigMap holds the dashboard unchanged."""
    text = DASHBOARD.read_text()
    plugins.register_default_plugins()
    known = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(json.loads(text))))

    assert list(_unknown(json.loads(text), known)) == []
    config_map = manifests("ConfigMap")
    assert json.loads(config_map["data"]["k6-sweep.json"]) == json.loads(text)
    assert config_map["metadata"]["labels"]["a"] == "b"
    assert config_map["metadata"]["annotations"]["folder"] == "load"


def test_a_run_is_pushed(gateway: Web, redis_node: Node) -> None:
    """A run pushes its counts in its own group of the gateway, and the next run has another group."""
    redis_node.ask("MSET", "test:1", "x", "test:2", "x")
    words = ("run", "--redis-url", f"redis://127.0.0.1:{redis_node.port}", "--pattern", "test:*")
    env = {"POD_NAMESPACE": "load", "POD_NAME": "test-1"}
    first = k6_sweep(*words, "--pushgateway-url", gateway.url, env=env)
    second = k6_sweep(*words, "--pushgateway-url", gateway.url, "--dry-run", env=env)
    groups = {group["labels"]["run"]: group for group in gateway.get("/api/v1/metrics")}
    run = {json.loads(line)["run"] for line in first.log.splitlines()}.pop()
    assert groups[run]["labels"] == {"job": "k6-sweep", "run": run, "namespace": "load", "pod": "test-1"}
    (matched,) = groups[run]["k6_sweep_last_matched_keys"]["metrics"]
    assert (matched["labels"]["pattern"], matched["value"]) == ("test:*", "2")
    assert (first.code, second.code) == (0, 0)
    assert [group["labels"]["namespace"] for group in groups.values()].count("load") == 2


def test_a_gateway_that_is_away_harms_nothing(redis_node: Node, tmp_path: Path) -> None:
    """An unreachable gateway does not harm the sweep; the failed push is a line in the log."""
    words = ("run", "--redis-url", f"redis://127.0.0.1:{redis_node.port}", "--pattern", "test:*")
    nobody = f"http://127.0.0.1:{free_port()}"
    ended = k6_sweep(*words, "--pushgateway-url", nobody, "--metrics-file", str(tmp_path / "no" / "such"))
    assert (ended.code, ended.report["status"]) == (0, "complete")
    assert "metrics not pushed" in ended.log
    assert "metrics not written" in ended.log


def test_what_is_no_gateway_harms_nothing(redis_node: Node) -> None:
    """A gateway that does not answer in HTTP does not harm the sweep."""
    words = ("run", "--redis-url", f"redis://127.0.0.1:{redis_node.port}", "--pattern", "test:*")
    ended = k6_sweep(*words, "--pushgateway-url", f"http://127.0.0.1:{redis_node.port}")
    assert (ended.code, ended.report["status"]) == (0, "complete")
    assert "metrics not pushed" in ended.log


@pytest.mark.parametrize("url", ["pushgateway:9091", "http://g:90x", "http://g/a b", "http://me:word@g", "http://"])
def test_a_malformed_gateway_is_refused_at_the_start(url: str) -> None:
    """A malformed gateway URL is refused before the sweep, and its login is not repeated."""
    ended = k6_sweep("run", "--redis-url", "redis://127.0.0.1:1", "--pattern", "test:*", "--pushgateway-url", url)
    assert (ended.code, ended.report["status"]) == (2, "error")
    assert "--pushgateway-url must" in ended.report["errors"][0]
    assert "word" not in ended.log


def test_a_run_writes_a_file(redis_node: Node, tmp_path: Path) -> None:
    """A run writes a file for node_exporter's collector that promtool finds correct."""
    words = ("run", "--redis-url", f"redis://127.0.0.1:{redis_node.port}", "--pattern", "test:*")
    k6_sweep(*words, "--metrics-file", str(tmp_path / "k6-sweep.prom"))
    text = (tmp_path / "k6-sweep.prom").read_text()
    assert "k6_sweep_last_covered_slots_ratio" not in text  # a single server has no slots
    assert 'k6_sweep_last_status{status="complete"} 1.0' in text
    promtool("check", "metrics", text=text)


@pytest.fixture(scope="module")
def small_cluster() -> Iterator[LocalCluster]:
    with local_cluster(find_redis_server(), primaries=3) as cluster:
        yield cluster


@pytest.fixture
def endpoint(small_cluster: LocalCluster) -> Iterator[Served]:
    with served(small_cluster.url) as running:
        yield running


def test_dashboard_and_alerts_on_what_happened(
    gateway: Web, endpoint: Served, manifests: Callable[[str], Manifest], tmp_path: Path
) -> None:
    """A real Prometheus has data for each query of the dashboard, and fires exactly the expected alerts."""
    push(Report(Status.COMPLETE, sweep=SWEPT), gateway.url, {"run": "older", "namespace": "load-test"}, 5)
    left = replace(SWEPT, remaining_by_pattern={"a:*": 7})
    time.sleep(0.1)  # the newest run counts
    push(Report(Status.INCOMPLETE, sweep=left), gateway.url, {"run": "newer", "namespace": "load-test"}, 5)
    time.sleep(0.1)
    for number, later in enumerate((Report(Status.DRY_RUN, dry_run=True, sweep=SWEPT), Report(Status.HANDED_OVER))):
        push(later, gateway.url, {"run": f"later-{number}", "namespace": "load-test"}, 5)
    push(Report(Status.REFUSED), gateway.url, {"run": "another", "namespace": "elsewhere"}, 5)
    k6 = K6Outcome(seen=True, ended=True, exit_code=99)
    push(Report(Status.COMPLETE, sweep=SWEPT, k6=k6, owed=1), gateway.url, {"run": "k6", "namespace": "third"}, 5)
    promtool("check", "metrics", text=endpoint.ask("GET", "/metrics").text)
    targets = {gateway.port: {}, endpoint.port: {"namespace": "served"}}
    with prometheus(tmp_path, targets, manifests("PrometheusRule")["spec"]) as web:
        until(lambda: bool(web.get("/api/v1/query", query="k6_sweep_sweeps_total")["result"]))
        assert endpoint.post().code == 200
        empty = [title for title, _ in queries()]

        def all_have_data() -> bool:
            empty[:] = [f"{title}: {query}" for title, query in queries() if not has_data(web, query)]
            return not empty

        try:
            until(all_have_data)
        except AssertionError:
            pytest.fail("\n".join(["no data for:", *empty]))
        status = web.get("/api/v1/query", query=queries()[0][1])["result"]
        newest = {each["metric"]["namespace"]: each["metric"]["status"] for each in status}
        expected = {"load-test": "incomplete", "elsewhere": "refused", "third": "complete", "served": "complete"}
        assert expected.items() <= newest.items()
        until(lambda: len(web.get("/api/v1/alerts")["alerts"]) >= 2)
        fired = {(each["labels"]["alertname"], each["state"]) for each in web.get("/api/v1/alerts")["alerts"]}
        assert fired == {("K6SweepIncomplete", "firing"), ("K6SweepTestDataLeft", "firing")}


def test_old_groups_are_deleted(tmp_path: Path) -> None:
    """The docs' commands delete old groups, but not the newest sweep of a namespace or the groups of others."""
    (command,) = re.findall(r"```sh\nGATEWAY=.*\n((?:.*\n)*?)```", (ROOT / "docs" / "operations.md").read_text())
    with pushgateway(tmp_path) as gateway:

        def clean_up(days: int) -> set[str]:
            told = command.replace("now - 30 *", f"now - {days} *")
            subprocess.run(["sh", "-ec", told], env={**os.environ, "GATEWAY": gateway.url}, check=True)
            return {group["labels"].get("run", "theirs") for group in gateway.get("/api/v1/metrics")}

        for number, status in enumerate((Status.COMPLETE, Status.INCOMPLETE, Status.HANDED_OVER)):
            push(Report(status), gateway.url, {"run": f"run-{number}", "namespace": "load-test"}, 5)
            time.sleep(0.05)
        push(Report(Status.COMPLETE), gateway.url, {"run": "there"}, 5)
        push(Report(Status.DRY_RUN, dry_run=True), gateway.url, {"run": "dry", "namespace": "load-test"}, 5)
        push_to_gateway(gateway.url, "their-job", CollectorRegistry())
        assert clean_up(30) == {"run-0", "run-1", "run-2", "there", "dry", "theirs"}
        assert clean_up(0) == {"run-1", "there", "theirs"}


def has_data(web: Web, query: str) -> bool:
    return any(each["value"][1] != "NaN" for each in web.get("/api/v1/query", query=query)["result"])


_SERIES = 'k6_sweep_last_{name}{{namespace="load-test", run="{run}"{more}}}'


def _series(name: str, values: str, run: str = "1", more: str = "") -> dict[str, str]:
    return {"series": _SERIES.format(name=name, run=run, more=more), "values": values}


OUTCOMES: dict[str, tuple[list[dict[str, str]], set[str]]] = {
    "complete": (
        [
            _series("status", "1x20", more=', status="complete"'),
            _series("status", "0x20", more=', status="incomplete"'),
            _series("end_timestamp_seconds", "0x20"),
            _series("success_timestamp_seconds", "0x20"),
            _series("remaining_keys", "0x20", more=', pattern="a:*"'),
        ],
        set(),
    ),
    "refused": (
        [
            _series("status", "1x20", more=', status="refused"'),
            _series("end_timestamp_seconds", "0x20"),
            _series("success_timestamp_seconds", "0x20", run="0"),
        ],
        {"K6SweepRefused"},
    ),
    "incomplete, then complete": (
        [
            _series("status", "1x20", more=', status="incomplete"'),
            _series("end_timestamp_seconds", "10x20"),
            _series("remaining_keys", "5x20", more=', pattern="a:*"'),
            _series("status", "1x20", run="2", more=', status="complete"'),
            _series("end_timestamp_seconds", "20x20", run="2"),
            _series("success_timestamp_seconds", "20x20", run="2"),
        ],
        set(),
    ),
    "a dry run": (
        [
            _series("dry_run_status", "1x20", more=', status="dry-run"'),
            _series("dry_run_end_timestamp_seconds", "0x20"),
            _series("dry_run_remaining_keys", "5x20", more=', pattern="a:*"'),
            _series("success_timestamp_seconds", "0x20", run="0"),
        ],
        set(),
    ),
    **{
        f"{alert}, then {status}": (
            [
                *failed,
                _series("end_timestamp_seconds", "10x20"),
                _series(f"{kind}_status", "1x20", run="2", more=f', status="{status}"'),
                _series(f"{kind}_end_timestamp_seconds", "20x20", run="2"),
                _series(f"{kind}_remaining_keys", "0x20", run="2", more=', pattern="a:*"'),
                _series("success_timestamp_seconds", "0x20", run="0"),
            ],
            {alert},
        )
        for kind, status in (("dry_run", "dry-run"), ("no_sweep", "handed-over"), ("no_sweep", "skipped"))
        for alert, failed in (
            ("K6SweepIncomplete", [_series("status", "1x20", more=', status="incomplete"')]),
            ("K6SweepRefused", [_series("status", "1x20", more=', status="refused"')]),
            ("K6SweepTestDataLeft", [_series("remaining_keys", "5x20", more=', pattern="a:*"')]),
        )
    },
    "unseen, and never a sweep": (
        [_series("status", "1x20", more=', status="unseen"'), _series("end_timestamp_seconds", "0x20")],
        {"K6SweepIncomplete", "K6SweepMissing"},
    ),
    "handed over to a test that still runs": (
        [
            _series("no_sweep_status", "1x20", more=', status="handed-over"'),
            _series("no_sweep_end_timestamp_seconds", "0x20"),
            _series("success_timestamp_seconds", "-3600x20"),
        ],
        set(),
    ),
    "handed over again and again, and never swept": (
        [
            _series("no_sweep_status", "1x20", more=', status="handed-over"'),
            _series("no_sweep_end_timestamp_seconds", "0x20"),
            _series("success_timestamp_seconds", "-90000x20"),
        ],
        {"K6SweepMissing"},
    ),
    "too long ago": (
        [
            _series("status", "1x20", more=', status="complete"'),
            _series("end_timestamp_seconds", "-90000x20"),
            _series("success_timestamp_seconds", "-90000x20"),
        ],
        {"K6SweepMissing"},
    ),
}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_each_alert(outcome: str, manifests: Callable[[str], Manifest], tmp_path: Path) -> None:
    """After each outcome Prometheus's own rule tests find exactly the expected alerts."""
    series, fires = OUTCOMES[outcome]
    spec = manifests("PrometheusRule")["spec"]
    (tmp_path / "rules.yaml").write_text(json.dumps(spec))
    promtool("check", "rules", str(tmp_path / "rules.yaml"))
    names = [rule["alert"] for group in spec["groups"] for rule in group["rules"]]
    assert len(names) == 4
    firing = 'count(ALERTS{{alertname="{}", alertstate="firing"}}) > bool 0 or vector(0)'
    checks = [
        {
            "expr": firing.format(name),
            "eval_time": "18m",
            "exp_samples": [{"labels": "{}", "value": int(name in fires)}],
        }
        for name in names
    ]
    tests = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": series, "promql_expr_test": checks}],
    }
    (tmp_path / "tests.yaml").write_text(json.dumps(tests))
    promtool("test", "rules", str(tmp_path / "tests.yaml"))


def test_alerts_say_what_to_do(manifests: Callable[[str], Manifest]) -> None:
    """Each alert has a summary, a description, the configured severity, and a link to its section of the runbooks."""
    manifest = manifests("PrometheusRule")
    sections = (ROOT / "docs" / "runbooks.md").read_text().split("\n## ")
    assert manifest["metadata"]["labels"]["release"] == "mine"
    for rule in manifest["spec"]["groups"][0]["rules"]:
        assert rule["labels"] == {"severity": "page"}
        assert len(rule["annotations"]["description"]) > 60
        assert not re.search(r"%!|<no value>", str(rule))
        place, anchor = rule["annotations"]["runbook_url"].split("#")
        assert place == f"{PROJECT}/blob/HEAD/docs/runbooks.md"
        section = next(each for each in sections if each.lower().startswith(f"{anchor}\n"))
        assert section.startswith(rule["alert"])
        assert "```sh\n" in section
