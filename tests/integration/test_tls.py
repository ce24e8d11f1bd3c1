"""TLS connections are verified by default, and the errors name the cause."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from k6_sweep.cluster.connector import Connector
from k6_sweep.demo.servers import Node, free_port, stop
from k6_sweep.errors import DeniedError, UnreachableError
from tests.certificates import Authority
from tests.support import settings_for, start_tls_server, sweep_now, until


@dataclass(frozen=True)
class Certificates:
    """Files of an authority, of a server for 127.0.0.1, and of a server with another name."""

    authority: Path
    server: Path
    key: Path
    other: Path


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    authority = Authority(tmp_path_factory.mktemp("tls"))
    return Certificates(
        authority=authority.file,
        server=authority.issue("server", "127.0.0.1"),
        key=authority.key_file,
        other=authority.issue("other", "elsewhere.example"),
    )


@pytest.fixture
def tls_options(certificates: Certificates) -> dict[str, str]:
    return {
        "port": "0",
        "tls-cert-file": str(certificates.server),
        "tls-key-file": str(certificates.key),
        "tls-ca-cert-file": str(certificates.authority),
        "tls-auth-clients": "no",
    }


def _start(folder: Path, options: dict[str, str]) -> Node:
    port = free_port()
    return start_tls_server(folder, options | {"tls-port": str(port)}, port)


@pytest.fixture
def tls_server(tmp_path: Path, tls_options: dict[str, str]) -> Iterator[Node]:
    node = _start(tmp_path, tls_options)
    yield node
    stop([node])


def test_our_own_authority_is_trusted(tls_server: Node, certificates: Certificates) -> None:
    """With the authority's file the server is trusted, and the sweep works over TLS."""
    url = f"rediss://127.0.0.1:{tls_server.port}"
    report = sweep_now(settings_for(url, "--redis-ca-file", str(certificates.authority)))
    assert report.status == "complete"


def test_an_authority_of_an_old_script_is_trusted(tmp_path: Path, tls_options: dict[str, str]) -> None:
    """An authority that the user names is trusted although it lacks what Python 3.13 and newer demand by default."""
    old = Authority(tmp_path, strict=False)
    files = {
        "tls-cert-file": str(old.issue("server", "127.0.0.1")),
        "tls-key-file": str(old.key_file),
        "tls-ca-cert-file": str(old.file),
    }
    node = _start(tmp_path, tls_options | files)
    try:
        report = sweep_now(settings_for(f"rediss://127.0.0.1:{node.port}", "--redis-ca-file", str(old.file)))
    finally:
        stop([node])
    assert (report.status, report.errors) == ("complete", ())


def test_the_wrong_authority_is_refused(tls_server: Node, tmp_path: Path) -> None:
    """A server of another authority than the named one is refused, and the advice is not to set what is set."""
    other = Authority(tmp_path)
    with pytest.raises(DeniedError, match="check that --redis-ca-file has the authority that signed it"):
        sweep_now(settings_for(f"rediss://127.0.0.1:{tls_server.port}", "--redis-ca-file", str(other.file)))


def test_an_unknown_authority_is_refused(tls_server: Node) -> None:
    """By default a server of an unknown authority is refused."""
    with pytest.raises(DeniedError, match=r"is not trusted: .*--redis-ca-file"):
        sweep_now(settings_for(f"rediss://127.0.0.1:{tls_server.port}"))


def test_verification_can_be_switched_off(tls_server: Node) -> None:
    """--redis-tls-insecure allows TLS without verification."""
    assert sweep_now(settings_for(f"rediss://127.0.0.1:{tls_server.port}", "--redis-tls-insecure")).status == "complete"


def test_another_name_is_refused(tmp_path: Path, tls_options: dict[str, str], certificates: Certificates) -> None:
    """A certificate of the right authority with another host name is refused."""
    node = _start(tmp_path, tls_options | {"tls-cert-file": str(certificates.other)})
    try:
        with pytest.raises(DeniedError, match=r"; it names elsewhere\.example; use an address .*--redis-tls-server"):
            sweep_now(settings_for(f"rediss://127.0.0.1:{node.port}", "--redis-ca-file", str(certificates.authority)))
    finally:
        stop([node])


def test_the_name_of_the_service_is_enough(
    tmp_path: Path, tls_options: dict[str, str], certificates: Certificates
) -> None:
    """With --redis-tls-server-name, each node of a cluster must have that name; no other name does."""
    options = {"tls-cert-file": str(certificates.other), "tls-cluster": "yes", "cluster-enabled": "yes"}
    node = _start(tmp_path, tls_options | options)
    url, trust = f"rediss://127.0.0.1:{node.port}", ("--redis-ca-file", str(certificates.authority))
    named = settings_for(url, *trust, "--redis-tls-server-name", "elsewhere.example")
    wrong = settings_for(url, *trust, "--redis-tls-server-name", "nowhere.example")
    try:
        with closing(Connector(named)(node.address)) as link:
            link.ask("CLUSTER", "ADDSLOTS", *range(16384))
            until(lambda: b"cluster_state:ok" in link.ask("CLUSTER", "INFO"))
            link.ask("SET", "test:1", "x")
        assert (report := sweep_now(named)).status == "complete"
        assert report.deleted == 1
        with pytest.raises(
            DeniedError, match=r"nowhere.*; it names elsewhere\.example; correct it in --redis-tls-server-name"
        ):
            sweep_now(wrong)
        with pytest.raises(DeniedError, match="it names elsewhere"):
            sweep_now(settings_for(url, *trust))
    finally:
        stop([node])


def test_the_names_of_an_unknown_authority_are_not_asked_for(tls_server: Node, tmp_path: Path) -> None:
    """Neither a name nor the advice to accept it comes from a certificate of another authority."""
    trust = ("--redis-ca-file", str(Authority(tmp_path).file))
    options = (*trust, "--redis-tls-server-name", "elsewhere.example")
    with pytest.raises(DeniedError, match="is not trusted") as refused:
        sweep_now(settings_for(f"rediss://127.0.0.1:{tls_server.port}", *options))
    assert "it names" not in str(refused.value)


def test_tls_to_a_plain_server(standalone: Node) -> None:
    """If the server has no TLS, the error suggests redis://."""
    settings = settings_for(f"rediss://127.0.0.1:{standalone.port}")
    with pytest.raises((UnreachableError, DeniedError), match=r"has no TLS, start --redis-url with redis://"):
        sweep_now(settings, seconds=1)


def test_plain_to_a_tls_server(tls_server: Node) -> None:
    """If the server has only TLS, the error suggests rediss://."""
    with pytest.raises(UnreachableError, match="rediss://"):
        sweep_now(settings_for(f"redis://127.0.0.1:{tls_server.port}"), seconds=1)


def test_a_client_certificate(tmp_path: Path, tls_options: dict[str, str], certificates: Certificates) -> None:
    """A server that requires a certificate gets k6-sweep's; without one the connection fails."""
    node = _start(tmp_path, tls_options | {"tls-auth-clients": "yes"})
    url, trust = f"rediss://127.0.0.1:{node.port}", ["--redis-ca-file", str(certificates.authority)]
    ours = ["--redis-cert-file", str(certificates.server), "--redis-key-file", str(certificates.key)]
    try:
        assert sweep_now(settings_for(url, *trust, *ours)).status == "complete"
        with pytest.raises((UnreachableError, DeniedError)):
            sweep_now(settings_for(url, *trust), seconds=1)
    finally:
        stop([node])
