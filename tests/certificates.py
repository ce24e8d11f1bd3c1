"""Stands for a certificate authority that the TLS tests trust, and that a strict client accepts.

Python 3.13 and newer verify strictly by default: an authority's certificate must have its key usage, and each
certificate must name the key that signed it. Source: https://docs.python.org/3/library/ssl.html#ssl.VERIFY_X509_STRICT
"""

import datetime as dt
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_SIGNS_CERTIFICATES = x509.KeyUsage(
    key_cert_sign=True,
    crl_sign=True,
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)


class Authority:
    """Issues certificates, all for the same key, into a folder."""

    def __init__(self, folder: Path, *, strict: bool = True) -> None:
        """Prepare; without `strict`, the certificates lack what only strict clients need, as old scripts do."""
        self._folder = folder
        self._strict = strict
        self._signer = ec.generate_private_key(ec.SECP256R1())
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.file = folder / "authority.pem"
        self.key_file = folder / "key.pem"
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        begun = self._begin(name, name, self._signer).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        if strict:
            begun = begun.add_extension(_SIGNS_CERTIFICATES, critical=True)
        self._certificate = begun.sign(self._signer, hashes.SHA256())
        self.file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))
        self.key_file.write_bytes(
            self._key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
            )
        )

    def issue(self, name: str, *hosts: str) -> Path:
        """Return the file of a certificate for these host names and addresses."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            self._begin(subject, self._certificate.subject, self._key)
            .add_extension(x509.SubjectAlternativeName(_names(hosts)), critical=False)
            .sign(self._signer, hashes.SHA256())
        )
        path = self._folder / f"{name}.pem"
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return path

    def _begin(self, subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        begun = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=1))
        )
        if not self._strict:
            return begun
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._signer.public_key())
        own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        return begun.add_extension(own, critical=False).add_extension(signer, critical=False)


def _names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    def name(host: str) -> x509.GeneralName:
        try:
            return x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            return x509.DNSName(host)

    return [name(host) for host in hosts]
