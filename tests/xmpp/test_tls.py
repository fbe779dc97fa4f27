"""The certificate's channel binding, and the TLS layer between two buffers (RFC 5929 §4.1, RFC 7590)."""

from __future__ import annotations

import datetime
import hashlib
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tests.support.trust import trusting
from tests.xmpp.echo import make_certificate
from xmpp.edge.tls import TlsLayer, end_point, load_identity


def signed(key: CertificateIssuerPrivateKeyTypes, algorithm: hashes.HashAlgorithm | None) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1)
    builder = builder.public_key(key.public_key()).not_valid_before(now).not_valid_after(now)
    return builder.sign(key, algorithm)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("algorithm", "name"),
    [(hashes.SHA256(), "sha256"), (hashes.SHA384(), "sha384"), (hashes.SHA512(), "sha512")],
)
def test_the_binding_is_hashed_as_the_certificate_was_signed(
    algorithm: hashes.HashAlgorithm, name: str
) -> None:
    certificate = signed(ec.generate_private_key(ec.SECP256R1()), algorithm)
    assert end_point(certificate) == hashlib.new(name, certificate.public_bytes(Encoding.DER)).digest()


def test_sha_1_is_replaced_by_sha_256_in_the_binding() -> None:
    class Old:
        """What a certificate signed with SHA-1 looks like; making one is not possible any more everywhere."""

        signature_hash_algorithm = hashes.SHA1()

        def public_bytes(self, encoding: Encoding) -> bytes:
            return b"der"

    assert end_point(Old()) == hashlib.sha256(b"der").digest()  # type: ignore[arg-type]


def test_ed25519_has_no_binding() -> None:
    assert end_point(signed(ed25519.Ed25519PrivateKey.generate(), None)) is None


def test_rsa_works_too() -> None:
    assert end_point(signed(rsa.generate_private_key(65537, 2048), hashes.SHA256())) is not None


def test_files_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    with pytest.raises(OSError, match=r"missing\.pem|No such file"):
        load_identity(certificate, tmp_path / "missing.pem")
    key.write_text("nonsense")
    with pytest.raises(OSError, match="PEM"):
        load_identity(certificate, key)


def test_the_secret_is_the_same_for_the_same_key(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    assert load_identity(certificate, key).secret == load_identity(certificate, key).secret


class Peer:
    """The client's half."""

    def __init__(self) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = trusting().wrap_bio(self.incoming, self.outgoing, server_hostname="example.org")

    def handshake(self, server: TlsLayer) -> None:
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                server.receive(self.outgoing.read())
                self.incoming.write(server.take())
            else:
                break
        assert server.receive(self.outgoing.read()) == b""
        assert server.established


@pytest.fixture
def server(tmp_path: Path) -> TlsLayer:
    return TlsLayer(load_identity(*make_certificate(tmp_path)).context)


@pytest.mark.parametrize("size", [1, 100, 16_384, 16_385, 300_000])
@pytest.mark.parametrize("piece", [7919, 1_000_000])
def test_what_one_side_writes_the_other_reads(server: TlsLayer, size: int, piece: int) -> None:
    client = Peer()
    client.handshake(server)
    data = b"x" * size
    client.tls.write(data)
    wire = client.outgoing.read()
    assert b"".join(server.receive(wire[i : i + piece]) for i in range(0, len(wire), piece)) == data
    client.incoming.write(server.send(data))
    got = b""
    while len(got) < size:
        got += client.tls.read(65536)
    assert got == data


def test_data_in_the_same_flight_as_the_handshakes_end_is_not_lost(server: TlsLayer) -> None:
    client = Peer()
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.do_handshake()
    server.receive(client.outgoing.read())
    client.incoming.write(server.take())
    client.tls.do_handshake()
    client.tls.write(b"early")
    assert server.receive(client.outgoing.read()) == b"early"


def test_a_goodbye_is_noticed_and_said(server: TlsLayer) -> None:
    client = Peer()
    client.handshake(server)
    client.tls.write(b"last words")
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.unwrap()
    assert server.receive(client.outgoing.read()) == b"last words"
    assert server.closed
    client.incoming.write(server.close())
    client.tls.unwrap()


def test_what_is_no_tls_is_an_error(server: TlsLayer) -> None:
    with pytest.raises(ssl.SSLError):
        server.receive(b"<?xml version='1.0'?><stream:stream>")


def test_a_tampered_record_is_an_error(server: TlsLayer) -> None:
    client = Peer()
    client.handshake(server)
    client.tls.write(b"hello")
    wire = bytearray(client.outgoing.read())
    wire[-1] ^= 1
    with pytest.raises(ssl.SSLError):
        server.receive(bytes(wire))


def test_the_cipher_is_described(server: TlsLayer) -> None:
    assert server.describe() == ""
    Peer().handshake(server)
    assert server.describe().startswith("TLSv1.3 TLS_")
