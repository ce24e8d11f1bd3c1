"""Whatever ends the process, whenever: the message file holds valid JSON, and its counts are not above the truth."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sidecar.demo.keys import write_keys
from sidecar.demo.servers import LocalCluster, find_redis_server, local_cluster
from sidecar.message import TerminationMessage
from tests.support import keys_of

KEYS = 60_000


def test_200_kills_of_a_writer(tmp_path: Path) -> None:
    """A process that rewrites the message without pause is killed 200 times; each time the file is whole."""
    path = tmp_path / "message"
    chance = random.Random(1)
    texts = [json.dumps({"status": "sweeping", "errors": ["x" * size]}).encode() for size in (0, 1500, 30, 3900, 700)]
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
def test_signals_at_random_moments_of_a_sweep(number: signal.Signals, tmp_path: Path) -> None:
    """SIGTERM, SIGINT and SIGKILL anywhere in `run`: a valid message, counts within the truth, nothing else deleted."""
    chance = random.Random(2)
    with local_cluster(find_redis_server()) as cluster:
        others = {f"user:{i}".encode() for i in range(1000)}
        write_keys(cluster, others)
        for turn in range(8):
            write_keys(cluster, (f"test:{i}".encode() for i in range(KEYS)))
            before = _matching(cluster)
            message = tmp_path / f"message{turn}"
            process = _start(cluster, message)
            _until_it_sweeps(message, process)
            time.sleep(chance.uniform(0, 0.6))
            process.send_signal(number)
            output, _ = process.communicate(timeout=60)
            told = json.loads(message.read_bytes())
            gone = before - _matching(cluster)
            assert told["deleted"] <= gone
            assert keys_of(cluster.primaries) >= others
            if output:
                assert json.loads(output)["deleted"] == told["deleted"]
                assert told["status"] in {"complete", "incomplete"}
            if told["status"] == "complete":
                assert gone == before == told["deleted"]


def _matching(cluster: LocalCluster) -> int:
    return sum(key.startswith(b"test:") for key in keys_of(cluster.primaries))


def _start(cluster: LocalCluster, message: Path) -> subprocess.Popen[bytes]:
    # A bounded rate makes the sweep long enough to be hit in its middle.
    wanted = ["--redis-url", cluster.url, "--pattern", "test:*", "--max-rate", str(KEYS * 2), "--batch-size", "200"]
    return subprocess.Popen(
        [sys.executable, "-m", "sidecar", "run", *wanted, "--termination-log", str(message)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def _until_it_sweeps(message: Path, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None and not (message.exists() and message.read_bytes()):
        time.sleep(0.005)
