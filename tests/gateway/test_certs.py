"""`gateway.certs`: the self-signed certificate is one clients can verify, and the key is private."""

from __future__ import annotations

import datetime
import ssl
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from gateway import certs


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "tls" / "self-signed.pem", tmp_path / "tls" / "self-signed.key"


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> str | None:
    """TLS over memory buffers; the version both agreed on."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    theirs = client.wrap_bio(to_client, to_server, server_hostname=name)
    done = {ours: False, theirs: False}
    while not all(done.values()):
        for side in (theirs, ours):
            try:
                side.do_handshake()
                done[side] = True
            except ssl.SSLWantReadError:
                continue
    return theirs.version()


def server(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


@pytest.mark.parametrize("name", ["localhost", "example.org", "127.0.0.1", "::1", "bücher.example"])
def test_a_client_that_trusts_it_can_verify_every_name(pair: tuple[Path, Path], name: str) -> None:
    assert certs.ensure_self_signed(*pair, ["example.org", "bücher.example"])
    client = ssl.create_default_context(cafile=pair[0])
    assert handshake(server(*pair), client, certs.a_label(name) if "ü" in name else name) == "TLSv1.3"


def test_key_is_readable_by_its_owner_only(pair: tuple[Path, Path]) -> None:
    certs.ensure_self_signed(*pair, ["localhost"])
    assert stat.S_IMODE(pair[1].stat().st_mode) == 0o600


def test_second_start_finds_the_first_ones_certificate(pair: tuple[Path, Path]) -> None:
    certs.ensure_self_signed(*pair, ["localhost"])
    before = pair[0].read_bytes()
    assert not certs.ensure_self_signed(*pair, ["localhost"])
    assert pair[0].read_bytes() == before


def test_key_of_another_certificate_is_refused_by_name(pair: tuple[Path, Path], tmp_path: Path) -> None:
    certs.ensure_self_signed(*pair, ["localhost"])
    other = tmp_path / "other.pem", tmp_path / "other.key"
    certs.ensure_self_signed(*other, ["localhost"])
    with pytest.raises(
        certs.CertificateError, match=r"self-signed\.pem with .*other\.key: they do not belong"
    ):
        certs.verify(pair[0], other[1])


def test_a_file_that_is_missing_is_named(pair: tuple[Path, Path], tmp_path: Path) -> None:
    certs.ensure_self_signed(*pair, ["localhost"])
    with pytest.raises(certs.CertificateError, match=r"^\S*absent\.key: No such file or directory$"):
        certs.verify(pair[0], tmp_path / "absent.key")


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked(pair: tuple[Path, Path]) -> None:
    certs.ensure_self_signed(*pair, ["localhost"])
    key = serialization.load_pem_private_key(pair[1].read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"secret")
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
    pair[1].write_bytes(pem)
    with pytest.raises(certs.CertificateError, match="self-signed"):
        certs.verify(*pair)


def test_a_key_is_made_once_and_only_where_it_may_be(tmp_path: Path) -> None:
    key = tmp_path / "push" / "vapid.pem"
    with pytest.raises(FileNotFoundError):
        certs.ensure_key(key, make=False)
    certs.ensure_key(key, make=True)
    made = key.read_bytes()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    certs.ensure_key(key, make=True)
    assert key.read_bytes() == made


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    certs.ensure_self_signed(tmp_path / "a.pem", tmp_path / "a.key", ["localhost"])
    with pytest.raises(certs.CertificateError, match=r"a\.pem"):
        certs.ensure_key(tmp_path / "a.pem", make=True)


def test_description_tells_names_and_end(pair: tuple[Path, Path]) -> None:
    certs.ensure_self_signed(*pair, ["example.org"])
    names, ends = certs.describe(pair[0])
    assert names == ["localhost", "example.org"]
    assert ends - datetime.datetime.now(datetime.UTC) > datetime.timedelta(days=800)


@pytest.mark.parametrize(
    ("names", "domain", "covered"),
    [
        (["example.org"], "example.org", True),
        (["EXAMPLE.org"], "example.org", True),
        (["*.example.org"], "chat.example.org", True),
        (["*.example.org"], "example.org", False),
        (["*.example.org"], "a.b.example.org", False),
        (["*."], "localhost", False),
        (["xn--bcher-kva.example"], "bücher.example", True),
        ([], "example.org", False),
    ],
)
def test_names_cover_domains_as_rfc_6125_matches(names: list[str], domain: str, covered: bool) -> None:
    assert certs.covers(names, domain) is covered
