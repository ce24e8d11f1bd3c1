"""`--detector signal` takes SIGTERM as the end of k6, because the settings request it."""

import signal
import time
from pathlib import Path

from k6_sweep.demo.servers import Node
from tests.acceptance.command import k6_sweep
from tests.acceptance.pod import start_sidecar
from tests.support import until


def test_it_sweeps_at_sigterm(folder: Path, redis_url: str, redis_node: Node) -> None:
    """SIGTERM starts the sweep without a search for k6, and the report names the signal as the source."""
    sidecar = start_sidecar(folder, redis_url, "--detector", "signal", "--native")
    assert sidecar.still_waits()
    assert redis_node.ask("EXISTS", "test:1") == 1
    sidecar.process.send_signal(signal.SIGTERM)
    report = sidecar.report()
    assert (report["status"], report["deleted"], sidecar.process.returncode) == ("complete", 1, 0)
    k6 = report["k6"]
    assert (k6["detector"], k6["ended"], k6["exit_code"], k6["reason"]) == ("signal", True, None, None)


def test_a_second_signal_stops_the_sweep(folder: Path, redis_url: str, redis_node: Node) -> None:
    """The first signal starts the sweep, and the second one stops it at the next batch, with a report."""
    sidecar = start_sidecar(folder, redis_url, "--detector", "signal", "--native", "--settle", "60")
    sidecar.process.send_signal(signal.SIGTERM)
    until(lambda: redis_node.ask("EXISTS", "test:1") == 0)
    time.sleep(0.2)
    sidecar.process.send_signal(signal.SIGTERM)
    report = sidecar.report()
    assert (report["status"], report["deleted"], sidecar.process.returncode) == ("incomplete", 1, 3)


def test_it_is_for_native_sidecars_only() -> None:
    """Outside native sidecars it is refused, because the container gets SIGTERM while k6 may still run."""
    ended = k6_sweep("watch", "--redis-url", "redis://localhost:1", "--pattern", "test:*", "--detector", "signal")
    assert (ended.code, ended.report["status"]) == (2, "error")
    assert "--detector signal needs --native" in ended.report["errors"][0]


def test_it_knows_nothing_of_the_outcome() -> None:
    """--when is refused at the start, because a signal does not contain k6's result."""
    wanted = ("watch", "--redis-url", "redis://localhost:1", "--pattern", "test:*", "--detector", "signal", "--native")
    ended = k6_sweep(*wanted, "--when", "success")
    assert ended.code == 2
    assert "--when success cannot be decided" in ended.report["errors"][0]


def test_a_target_needs_the_api() -> None:
    """--target is refused without the API: neither processes nor signals show it, nor any pod outside a cluster."""
    wanted = ("watch", "--redis-url", "redis://localhost:1", "--pattern", "test:*", "--target", "job/load-test")
    assert "--target needs the Kubernetes API" in k6_sweep(*wanted, "--detector", "process").report["errors"][0]
    outside = k6_sweep(*wanted, env={"KUBECONFIG": "/nowhere"})
    assert (outside.code, outside.report["status"]) == (2, "error")
    assert "there is no kubeconfig at /nowhere" in outside.report["errors"][0]
    misspelled = k6_sweep(*wanted[:-1], "jobs/load-test")
    kinds = "pod/NAME, job/NAME, testrun/NAME, job-selector:LABELS or selector:LABELS"
    assert f"must be {kinds}" in misspelled.report["errors"][0]
