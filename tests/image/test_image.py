"""The image works as a container beside k6's in one process namespace."""

import json
import os
import re
import signal
import socket
import tarfile
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from k6_sweep.demo.keys import write_keys
from k6_sweep.demo.servers import LocalCluster, find_redis_server, free_port, local_cluster
from tests.image.runtime import ARCHIVES, Containerd, ContainerPod, why_no_containers
from tests.reports import report_in
from tests.support import KINDS, keys_of, until

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _containers() -> None:
    if reason := why_no_containers():
        pytest.skip(reason)


@pytest.fixture
def containers(tmp_path: Path) -> Iterator[ContainerPod]:
    (tmp_path / "containerd").mkdir()
    containerd = Containerd.start(tmp_path / "containerd")
    try:
        with ContainerPod(containerd, tmp_path) as pod:
            yield pod
    finally:
        containerd.stop()


@pytest.fixture
def cluster_outside() -> Iterator[LocalCluster]:
    with local_cluster(find_redis_server(), primaries=3) as cluster:
        yield cluster


def image_config() -> dict[str, Any]:
    """Return the image's own configuration."""
    with tarfile.open(ARCHIVES / "k6-sweep.tar") as archive:

        def read(digest: str) -> Any:
            file = archive.extractfile(f"blobs/{digest.replace(':', '/')}")
            assert file
            return json.load(file)

        index = archive.extractfile("index.json")
        assert index
        config: dict[str, Any] = read(read(json.load(index)["manifests"][0]["digest"])["config"]["digest"])["config"]
        return config


def test_the_image_has_its_user_command_and_labels() -> None:
    """The image has a numeric non-root user, k6-sweep as its command, and labels with the version."""
    config = image_config()
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert (config["User"], config["Entrypoint"], config["Cmd"]) == ("64001:64001", ["k6-sweep"], ["watch"])
    assert config["Labels"]["org.opencontainers.image.version"] == version
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_two_builds_have_the_same_layers() -> None:
    """The image was built twice from the start, with one time for all files, and every layer has the same digest."""
    first, second = ((ARCHIVES / f"layers-{name}").read_text().split() for name in ("again", "test"))
    assert first == second
    assert len(first) > 1


def test_the_image_has_the_locked_packages() -> None:
    """Beside k6-sweep, the packages above the base are those of the lock, in its versions."""
    lock = (ROOT / "locks/image-api.txt").read_text()
    locked = set(re.findall(r"^([a-z0-9._-]+)(?:\[[a-z,]+\])?==([^ ]+)", lock, re.MULTILINE))
    with tarfile.open(ARCHIVES / "k6-sweep.tar") as archive:
        layers = [each for each in archive if each.size > 100_000 and each.name.startswith("blobs/")]
        names = {name for layer in layers for name in _names_in(archive, layer)}
    found = re.findall(r"/site-packages/([^/ ]+)-([^/ -]+)\.dist-info/METADATA", " ".join(sorted(names)))
    installed = {(re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in found}
    assert {each for each in installed if each[0] not in {"pip", "k6-sweep"}} == locked


def _names_in(archive: tarfile.TarFile, layer: tarfile.TarInfo) -> list[str]:
    with tarfile.open(fileobj=archive.extractfile(layer), mode="r:*") as files:
        return files.getnames()


def test_a_pod_cleans_up_after_itself(containers: ContainerPod, cluster_outside: LocalCluster, tmp_path: Path) -> None:
    """Beside a real k6, without capabilities, on a read-only root, it sweeps, and the message has the counts."""
    nodes = cluster_outside.primaries
    write_keys(cluster_outside, (b"user:%d" % number for number in range(20)))
    others = keys_of(nodes)
    message = tmp_path / "termination-log"
    message.touch(mode=0o666)
    message.chmod(0o666)
    sidecar = containers.container(
        "k6-sweep",
        "sidecar",
        env={
            "SWEEP_REDIS_URL": f"redis://127.0.0.1:{nodes[0].port}",
            "SWEEP_PATTERN": "\n".join(f"{kind}:*" for kind in KINDS),
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        },
        mounts={message: "/dev/termination-log"},
    )
    until(lambda: bool(message.read_text()) or sidecar.poll() is not None)
    assert report_in(message.read_text())["status"] == "waiting"
    status = Path(f"/proc/{containers.containerd.pid('sidecar')}/status").read_text()
    for line in (
        "Uid:\t64001",
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
    ):
        assert line in status

    k6 = containers.container(
        "k6",
        "k6",
        *("/usr/bin/k6", "run", "--no-usage-report", "--no-color", "--address", "127.0.0.1:0", "/scripts/load.js"),
        env={"REDIS_NODES": ",".join(f"redis://127.0.0.1:{node.port}" for node in nodes), "DURATION": "3s"},
    )
    said, complaint = k6.communicate(timeout=60)
    assert k6.returncode == 99, complaint  # that script's threshold always fails
    written = {kind: int(count) for kind, count in re.findall(r"written_(\w+)\.*: (\d+)", said)}
    assert sum(written.values()) > 0

    sidecar.communicate(timeout=60)
    report = report_in(message.read_text())
    assert (report["status"], sidecar.returncode, report["k6"]["detector"]) == ("complete", 0, "process")
    assert report["deleted"] == sum(written.values())
    assert report["patterns"] == {f"{kind}:*": written[kind] for kind in KINDS}
    assert keys_of(nodes) == others


def test_the_endpoint(containers: ContainerPod, cluster_outside: LocalCluster) -> None:
    """The image runs the endpoint too, on a read-only root."""
    port = free_port()
    env = {
        "SWEEP_REDIS_URL": cluster_outside.url,
        "SWEEP_PATTERN": "test:*",
        "SWEEP_LISTEN": f"127.0.0.1:{port}",
        "SWEEP_ADMIN_TOKEN": "a-token",
    }
    write_keys(cluster_outside, (b"test:%d" % number for number in range(20)))
    serving = containers.container("k6-sweep", "endpoint", "k6-sweep", "serve", env=env)
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/internal/redis/cleanup", b"{}", {"X-Admin-Token": "a-token"}, method="POST"
    )

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0 or serving.poll() is not None

    until(listens)
    with urllib.request.urlopen(request) as response:
        assert json.load(response)["deleted_count"] == 20
    pid = containers.containerd.pid("endpoint")
    assert pid
    os.kill(pid, signal.SIGTERM)
    assert report_in(serving.communicate(timeout=60)[0])["status"] == "stopped"


def test_the_root_may_be_read_only_and_there_is_no_pip(containers: ContainerPod) -> None:
    """The image starts on a read-only root, and contains no pip."""
    version = containers.container("k6-sweep", "version", "k6-sweep", "--version")
    assert version.communicate(timeout=60)[0].startswith("k6-sweep ")
    pip = containers.container("k6-sweep", "pip", "python", "-m", "pip")
    assert "No module named pip" in pip.communicate(timeout=60)[1]
