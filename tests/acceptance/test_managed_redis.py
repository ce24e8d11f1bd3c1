"""k6-sweep works with the properties of managed Redis: host names, TLS, changing passwords, expiring tokens."""

import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from k6_sweep.cluster.connector import Connector
from k6_sweep.cluster.topology import read_topology
from k6_sweep.demo.keys import write_keys
from k6_sweep.demo.servers import (
    CLUSTER_OPTIONS,
    LocalCluster,
    Node,
    form_cluster,
    free_port,
    stop,
)
from k6_sweep.settings.redis_url import IamCache
from k6_sweep.settings.values import Address
from tests.acceptance.pod import private_k6, start_sidecar
from tests.certificates import Authority
from tests.reports import report_in
from tests.support import settings_for, start_tls_server, sweep_now, until

ENDPOINT = "clustercfg.k6-sweep.test"
DEAD = "127.0.0.99"
"""The endpoint's name resolves to this address first; no server listens on it."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def why_no_names() -> str | None:
    """Return what this machine lacks to have its own host names, or None if it lacks nothing."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        return "needs root and unshare (Debian: util-linux), for a hosts file of its own"
    return None


@pytest.fixture(scope="module")
def named_cluster(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A TLS cluster whose nodes announce host names; each has a plain port too, for the test itself."""
    if reason := why_no_names():
        pytest.skip(reason)
    certificate = authority.issue("named", ENDPOINT, *(f"shard-{number}.k6-sweep.test" for number in range(3)))
    options = CLUSTER_OPTIONS | {
        "tls-cert-file": str(certificate),
        "tls-key-file": str(authority.key_file),
        "tls-ca-cert-file": str(authority.file),
        "tls-auth-clients": "no",
        "tls-cluster": "yes",
        "cluster-preferred-endpoint-type": "hostname",
    }
    nodes: list[Node] = []
    folder = tmp_path_factory.mktemp("cluster")
    try:
        for number in range(3):
            port = free_port()
            own = {
                "tls-port": str(free_port()),
                "cluster-port": str(port + 10_000),
                "cluster-announce-hostname": f"shard-{number}.k6-sweep.test",
            }
            nodes.append(start_tls_server(folder, options | own, port))
        form_cluster(nodes)
        wanted = {f"shard-{number}.k6-sweep.test:{tls_port(node)}" for number, node in enumerate(nodes)}
        until(lambda: all(_addresses_known_to(node) == wanted for node in nodes))
        yield LocalCluster(folder, tuple(nodes))
    finally:
        stop(nodes)


def tls_port(node: Node) -> int:
    return int(node.ask("CONFIG", "GET", "tls-port")[1])


def _addresses_known_to(node: Node) -> set[str]:
    """Return the node's list of addresses, asked over TLS: over a plain port it lists the plain ports."""
    connect = Connector(settings_for(f"rediss://127.0.0.1:{tls_port(node)}", "--redis-tls-insecure"))
    link = connect(Address("127.0.0.1", tls_port(node)))
    try:
        return {str(shard.address) for shard in read_topology(link, node.address).shards}
    finally:
        link.close()


def run_with_names(folder: Path, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run k6-sweep where the names of the cluster resolve."""
    hosts = folder / "hosts"
    names = " ".join([ENDPOINT, *(f"shard-{number}.k6-sweep.test" for number in range(3))])
    hosts.write_text(f"127.0.0.1 localhost\n{DEAD} {ENDPOINT}\n127.0.0.1 {names}\n")
    (folder / "host.conf").write_text("multi on\n")
    script = f'mount --bind {hosts} /etc/hosts && mount --bind {folder / "host.conf"} /etc/host.conf && exec "$@"'
    command = [sys.executable, "-m", "k6_sweep", *arguments]
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_endpoint_and_shards_that_are_names(
    named_cluster: LocalCluster, authority: Authority, tmp_path: Path
) -> None:
    """k6-sweep finds the shards by an endpoint with one dead address, and verifies each shard's name."""
    write_keys(named_cluster, (b"test:%d" % i for i in range(500)))
    url = f"rediss://{ENDPOINT}:{tls_port(named_cluster.nodes[0])}"
    done = run_with_names(
        tmp_path, ["run", "--redis-url", url, "--pattern", "test:*", "--redis-ca-file", str(authority.file)]
    )
    report = report_in(done.stdout)
    assert (report["status"], report["deleted"], report["errors"]) == ("complete", 500, [])
    assert sorted(name.split(":")[0] for name in report["by_shard"]) == [
        f"shard-{number}.k6-sweep.test" for number in range(3)
    ]


@contextmanager
def certificate_of(node: Node, certificate: Path) -> Iterator[None]:
    """Let a node serve with another certificate, and with its own one again afterwards."""
    own = node.ask("CONFIG", "GET", "tls-cert-file")[1]
    node.ask("CONFIG", "SET", "tls-cert-file", str(certificate))
    try:
        yield
    finally:
        node.ask("CONFIG", "SET", "tls-cert-file", own)


def test_a_shard_with_another_name_is_not_swept(
    named_cluster: LocalCluster, authority: Authority, tmp_path: Path
) -> None:
    """k6-sweep does not sweep a shard whose certificate has another name, and reports that name."""
    write_keys(named_cluster, (b"test:%d" % i for i in range(500)))
    url = f"rediss://{ENDPOINT}:{tls_port(named_cluster.nodes[0])}"
    trust = ["--redis-ca-file", str(authority.file)]
    with certificate_of(named_cluster.nodes[2], authority.issue("impostor", ENDPOINT)):
        done = run_with_names(tmp_path, ["run", "--redis-url", url, "--pattern", "test:*", "--timeout", "5", *trust])
    report = report_in(done.stdout)
    assert (done.returncode, report["status"]) == (3, "incomplete")
    assert "the certificate of shard-2.k6-sweep.test" in report["errors"][0]


SILENT_NAME_SERVER = """
import fcntl, socket, struct, subprocess, sys
subprocess.run(["mount", "--bind", sys.argv[1], "/etc/resolv.conf"], check=True)
silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fcntl.ioctl(silent, 0x8914, struct.pack("16sh14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP: as `ip link set lo up`
silent.bind(("127.0.0.1", 53))
sys.exit(subprocess.run(sys.argv[2:], check=False).returncode)
"""


def test_a_name_server_that_never_answers(tmp_path: Path) -> None:
    """A command ends in its time, with the reason, although the system would ask the name server for ten minutes."""
    if reason := why_no_names():
        pytest.skip(reason)
    settings = tmp_path / "resolv.conf"
    settings.write_text(
        "nameserver 127.0.0.1\nsearch a.test b.test c.test d.test\noptions ndots:5 timeout:30 attempts:5\n"
    )
    for command in (["run"], ["check"], ["snapshot", "--out", str(tmp_path / "file")]):
        words = [sys.executable, "-m", "k6_sweep", *command, "--redis-url", "redis://redis", "--pattern", "test:*"]
        done = subprocess.run(
            ["unshare", "-mn", sys.executable, "-c", SILENT_NAME_SERVER, settings, *words, "--timeout", "2"],
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert (done.returncode, report_in(done.stdout)["status"]) == (5, "failed")
        assert "the name server does not answer the question for redis" in done.stdout


def test_a_first_address_that_never_answers(tmp_path: Path, redis_node: Node) -> None:
    """If the first address of a name never answers, k6-sweep tries the next one."""
    if reason := why_no_names():
        pytest.skip(reason)
    with socket.socket() as deaf:
        deaf.bind((DEAD, redis_node.port))
        deaf.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:  # the queue is full: other connections get no answer
            filler.setblocking(False)
            filler.connect_ex((DEAD, redis_node.port))
        done = run_with_names(
            tmp_path, ["run", "--redis-url", f"redis://{ENDPOINT}:{redis_node.port}", "--pattern", "test:*"]
        )
        for filler in fillers:
            filler.close()
    report = report_in(done.stdout)
    assert (report["status"], report["deleted"]) == ("complete", 1)


def test_a_password_that_changes_during_the_wait(folder: Path, redis_node: Node) -> None:
    """After k6's end, `watch` logs in with the password that is then in the file."""
    rules = ("~test:*", "+unlink", "+scan")
    redis_node.ask("ACL", "SETUSER", "rotated", "reset", "on", ">first", *rules)
    secret = folder / "password"
    secret.write_text("first\n")
    private = private_k6(folder)
    sidecar = start_sidecar(
        folder,
        f"redis://rotated@127.0.0.1:{redis_node.port}",
        *("--redis-password-file", str(secret), "--k6-process", private.name),
        env={"KUBERNETES_SERVICE_HOST": ""},
    )
    k6 = subprocess.Popen(
        [private, "run", "--quiet", "--no-usage-report", "--address", "localhost:0", folder / "sleep.js"],
        env=os.environ | {"SECONDS": "60"},
    )
    until(lambda: sidecar.says("preflight passed") and sidecar.says("k6 is running"))
    redis_node.ask("ACL", "SETUSER", "rotated", "resetpass", ">second")
    secret.write_text("second\n")
    k6.send_signal(signal.SIGKILL)
    k6.wait()
    report = sidecar.report()
    assert (report["status"], report["deleted"]) == ("complete", 1)


def test_a_login_by_iam_uses_a_fresh_token_each_time(redis_node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each login by IAM uses a new token as the password of the given user."""
    for name, value in (("ACCESS_KEY_ID", "AKIDEXAMPLE"), ("SECRET_ACCESS_KEY", "x"), ("DEFAULT_REGION", "eu-west-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    redis_node.ask("ACL", "SETUSER", "by-iam", "reset", "on", "nopass", "~*", "+@all")
    settings = dataclasses.replace(
        settings_for(f"redis://by-iam@127.0.0.1:{redis_node.port}"), redis_iam=IamCache("elasticache", "my-cache")
    )
    assert Connector(settings)(redis_node.address).ask("ACL", "WHOAMI") == b"by-iam"
    assert sweep_now(settings).deleted == 1
