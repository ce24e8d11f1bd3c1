"""However the process ends, the message file holds valid JSON, and its counts do not exceed the truth."""

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from k6_sweep.cluster.own_keys import MARK
from k6_sweep.demo.keys import all_keys, write_keys
from k6_sweep.demo.servers import LocalCluster, find_redis_server, local_cluster
from k6_sweep.files.message import TerminationMessage
from tests.acceptance.pod import Sidecar, private_k6, start_sidecar
from tests.acceptance.scripts import k6_scripts
from tests.reports import report_in
from tests.support import keys_of, until

KEYS = 12_000

pytestmark = pytest.mark.usefixtures("unmeasured")


def test_200_kills_of_a_writer(tmp_path: Path) -> None:
    """The file is complete after each of 200 kills of a process that rewrites the message without pause."""
    path = tmp_path / "message"
    chance = random.Random(1)
    sizes = (0, 1500, 30, 3900, 700)
    texts = [json.dumps({"status": "sweeping", "deleted": 0, "errors": ["x" * size]}).encode() for size in sizes]
    for _ in range(200):
        child = os.fork()
        if not child:
            message = TerminationMessage(path)
            while True:
                for text in texts:
                    message.write(text)
        time.sleep(chance.uniform(0.001, 0.008))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        if path.exists() and (left := path.read_bytes()):
            assert json.loads(left)["status"] == "sweeping"
    assert path.read_bytes().startswith(b"{")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_signals_at_random_moments_of_wait_and_sweep(number: signal.Signals, tmp_path: Path) -> None:
    """After a signal at any moment of `watch` the message is valid and counts no key too many; other keys stay."""
    chance = random.Random(number)
    found: Counter[str] = Counter()
    with local_cluster(find_redis_server()) as cluster, ExitStack() as scripts:
        others = {f"user:{i}".encode() for i in range(1000)}
        write_keys(cluster, others)
        for turn in range(17):
            for node in cluster.primaries:
                for own in [each for each in all_keys(node) if MARK in each]:  # the entries of those that were killed
                    node.ask("UNLINK", own)
            write_keys(cluster, (f"test:{i}".encode() for i in range(KEYS)))
            before = _matching(cluster)
            folder = tmp_path / str(turn)
            folder.mkdir()
            scripts.enter_context(k6_scripts(folder))
            sidecar, k6 = _start(cluster, folder)
            if turn % 3:  # in two of three runs the sweep has begun
                k6.wait()
                until(lambda: sidecar.status() != "waiting" or sidecar.process.poll() is not None)  # noqa: B023  # called in the same iteration
            time.sleep(chance.uniform(0, 0.6))
            sidecar.process.send_signal(number)
            if number == signal.SIGTERM:
                k6.send_signal(number)  # as the kubelet does
            output, _ = sidecar.process.communicate(timeout=120)
            k6.kill()
            k6.wait()
            told = report_in(sidecar.message_file.read_bytes())
            found[told["status"]] += 1
            gone = before - _matching(cluster)
            assert told["deleted"] <= gone
            assert keys_of(cluster.primaries) >= others
            if output:
                assert report_in(output)["deleted"] == told["deleted"]
                assert told["status"] in {"complete", "incomplete", "unseen"}
            if told["status"] == "complete":
                assert gone == before == told["deleted"]
    if number == signal.SIGKILL:
        assert {"waiting", "sweeping"} <= found.keys(), found


def _matching(cluster: LocalCluster) -> int:
    return sum(key.startswith(b"test:") and MARK not in key for key in keys_of(cluster.primaries))


def _start(cluster: LocalCluster, folder: Path) -> tuple[Sidecar, subprocess.Popen[bytes]]:
    """Start a sidecar and a short k6."""
    private = private_k6(folder)
    # A limited rate makes the sweep long enough for a signal in its middle.
    pace = ("--max-rate", str(KEYS * 2), "--batch-size", "200")
    sidecar = start_sidecar(
        folder, cluster.url, *("--k6-process", private.name), *pace, env={"KUBERNETES_SERVICE_HOST": ""}
    )
    k6 = subprocess.Popen(
        [private, "run", "--quiet", "--no-usage-report", "--address", "localhost:0", folder / "sleep.js"],
        env=os.environ | {"SECONDS": "1"},
    )
    until(lambda: sidecar.says("k6 is running") or k6.poll() is not None)
    return sidecar, k6
