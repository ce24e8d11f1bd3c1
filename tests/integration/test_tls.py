"""Connections over TLS: verified by default, against our own authority, and clear words where that fails."""

import datetime as dt
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sidecar.demo.servers import Node, find_redis_server, free_port, start_server, stop
from sidecar.errors import DeniedError, SweepError, UnreachableError
from tests.support import settings_for, sweep_now


@dataclass(frozen=True)
class Certificates:
    """Files of an authority, of a server for 127.0.0.1, and of one for another name."""

    authority: Path
    server: Path
    key: Path
    other: Path


def _issue(
    folder: Path,
    name: str,
    subject: x509.GeneralName,
    authority: x509.Certificate,
    signer: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePrivateKey,
) -> Path:
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([subject]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("tls")
    signer, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    now = dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
    authority = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(signer.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )
    (folder / "authority.pem").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
    here = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    return Certificates(
        authority=folder / "authority.pem",
        server=_issue(folder, "server", here, authority, signer, key),
        key=folder / "key.pem",
        other=_issue(folder, "other", x509.DNSName("elsewhere.example"), authority, signer, key),
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
    try:
        return start_server(find_redis_server(), folder, options | {"tls-port": str(port)}, port=port)
    except SweepError as error:
        pytest.skip(f"needs a redis-server that is built with TLS: {error}")


@pytest.fixture
def tls_server(tmp_path: Path, tls_options: dict[str, str]) -> Iterator[Node]:
    node = _start(tmp_path, tls_options)
    yield node
    stop([node])


def test_our_own_authority_is_trusted(tls_server: Node, certificates: Certificates) -> None:
    """With the authority's file the server is believed, and the sweep works over TLS."""
    url = f"rediss://127.0.0.1:{tls_server.port}"
    report = sweep_now(settings_for(url, "--redis-ca-file", str(certificates.authority)))
    assert report.status == "complete"


def test_an_unknown_authority_is_refused(tls_server: Node) -> None:
    """Verification is on by default: a server of an unknown authority is not talked to."""
    with pytest.raises(DeniedError, match=r"is not trusted: .*--redis-ca-file"):
        sweep_now(settings_for(f"rediss://127.0.0.1:{tls_server.port}"))


def test_verification_can_be_switched_off(tls_server: Node) -> None:
    """Who asks for it gets TLS without verification."""
    assert sweep_now(settings_for(f"rediss://127.0.0.1:{tls_server.port}", "--redis-tls-insecure")).status == "complete"


def test_another_name_is_refused(tmp_path: Path, tls_options: dict[str, str], certificates: Certificates) -> None:
    """A certificate of the right authority for another host is refused."""
    node = _start(tmp_path, tls_options | {"tls-cert-file": str(certificates.other)})
    try:
        with pytest.raises(DeniedError, match="is not trusted"):
            sweep_now(settings_for(f"rediss://127.0.0.1:{node.port}", "--redis-ca-file", str(certificates.authority)))
    finally:
        stop([node])


def test_tls_to_a_plain_server(standalone: Node) -> None:
    """TLS where none is spoken: out of reach, with the hint."""
    settings = settings_for(f"rediss://127.0.0.1:{standalone.port}")
    with pytest.raises((UnreachableError, DeniedError), match=r"doesn't speak TLS, begin --redis-url with redis://"):
        sweep_now(settings, seconds=1)


def test_plain_to_a_tls_server(tls_server: Node) -> None:
    """Without TLS where only TLS is spoken: out of reach, with the hint."""
    with pytest.raises(UnreachableError, match="rediss://"):
        sweep_now(settings_for(f"redis://127.0.0.1:{tls_server.port}"), seconds=1)


def test_a_client_certificate(tmp_path: Path, tls_options: dict[str, str], certificates: Certificates) -> None:
    """A server that asks for a certificate gets ours; without one the connection fails."""
    node = _start(tmp_path, tls_options | {"tls-auth-clients": "yes"})
    url, trust = f"rediss://127.0.0.1:{node.port}", ["--redis-ca-file", str(certificates.authority)]
    ours = ["--redis-cert-file", str(certificates.server), "--redis-key-file", str(certificates.key)]
    try:
        assert sweep_now(settings_for(url, *trust, *ours)).status == "complete"
        with pytest.raises((UnreachableError, DeniedError)):
            sweep_now(settings_for(url, *trust), seconds=1)
    finally:
        stop([node])
