"""The certificate both doors show: an admin's files, or a self-signed one made at the first start."""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
from collections.abc import Iterable
from pathlib import Path

import idna
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SELF_SIGNED_DAYS = 825
"Longest life some client platforms accept."


class CertificateError(Exception):
    """The certificate or its key cannot be used; the text says which file and why."""


def ensure_self_signed(certificate: Path, key: Path, domains: Iterable[str]) -> bool:
    """Make a key (0600) and a self-signed certificate unless both files are there. True when made."""
    if certificate.exists() and key.exists():
        return False
    names = ["localhost", *(d for d in domains if d != "localhost")]
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[-1][:64])])
    now = datetime.datetime.now(datetime.UTC)
    alternatives: list[x509.GeneralName] = [x509.DNSName(a_label(name)) for name in names]
    alternatives += [x509.IPAddress(ipaddress.ip_address(ip)) for ip in ("127.0.0.1", "::1")]
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=SELF_SIGNED_DAYS))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
        .sign(private, hashes.SHA256())
    )
    certificate.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write_key(key, private)
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return True


def ensure_key(path: Path, *, make: bool) -> None:
    """A P-256 key (0600) is there; if not, make it where we may. Raises `CertificateError`, `OSError`."""
    if make and not path.exists():
        _write_key(path, ec.generate_private_key(ec.SECP256R1()))
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (TypeError, ValueError) as error:
        raise CertificateError(f"{path}: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise CertificateError(f"{path}: a P-256 key is wanted")


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_private(path, pem)


def write_private(path: Path, data: bytes) -> None:
    """Replace a file in one step, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    temporary.replace(path)


def verify(certificate: Path, key: Path) -> None:
    """A server can show these. Raises `CertificateError`."""
    try:
        for file in (certificate, key):
            file.open("rb").close()
    except OSError as error:
        raise CertificateError(f"{error.filename}: {error.strerror}") from error
    try:
        # A passphrase would be asked for on the terminal, by every process; with an empty one it is an error.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (OSError, ssl.SSLError) as error:
        foreign = getattr(error, "reason", "") == "KEY_VALUES_MISMATCH"
        why = "they do not belong together" if foreign else error
        raise CertificateError(f"{certificate} with {key}: {why}") from error


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS for HTTP. Raises `OSError` (`ssl.SSLError` is one)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(certificate, key)
    return context


def describe(certificate: Path) -> tuple[list[str], datetime.datetime]:
    """Names it is for, and when it ends. Raises `CertificateError`."""
    try:
        loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError) as error:
        raise CertificateError(f"{certificate}: {error}") from error
    try:
        extension = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = extension.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        names = []
    return list(names), loaded.not_valid_after_utc


def a_label(domain: str) -> str:
    """The form certificates and DNS carry (RFC 5890)."""
    return idna.encode(domain, uts46=True).decode("ascii").lower()


def covers(names: Iterable[str], domain: str) -> bool:
    """A DNS-ID of the certificate matches the domain (RFC 6125 §6.4), a wildcard standing for one label."""
    wanted = a_label(domain)
    parent = wanted.partition(".")[2]
    return any(
        name.lower() == wanted or (name.startswith("*.") and name[2:].lower() == parent and parent)
        for name in names
    )
