"""TLS for streams (RFC 6120 §5, §13.7; RFC 7590; XEP-0368): the certificate, and a layer without a socket.

`TlsLayer` works on memory buffers, so that the connection decides what is read as clear text and what as
TLS: nothing that arrived before the change can be taken for protected, and nothing is ever sent in the
clear after it.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import idna
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from presence.edge.names import Files, show_by_name

END_POINT = "tls-server-end-point"
_SLICE = 16_384
"A TLS record's payload. Feeding the buffers in such pieces keeps them small for ever: they never shrink."


@dataclass(frozen=True, slots=True)
class Identity:
    """What the server shows to clients that connect now."""

    context: ssl.SSLContext
    bindings: dict[str, bytes]
    "Channel binding type → data."
    secret: bytes
    "Known only to who has the private key; the same after a restart."
    named: Mapping[str, Identity] = field(default_factory=dict)
    "For who asks for another name, as DNS writes it."

    def of(self, domain: str) -> Identity:
        """For a stream to one of our domains, before a name is asked for."""
        if not self.named:
            return self
        with suppress(UnicodeError):
            domain = idna.encode(domain, uts46=True).decode()
        return self.named.get(domain, self)

    def shown(self, context: ssl.SSLContext) -> Identity:
        """The one whose context this is."""
        return next((other for other in self.named.values() if other.context is context), self)


def load_identities(certificate: Path, key: Path, named: Files) -> Identity:
    """The default with those for other names. Raises as `load_identity`."""
    others = {name: load_identity(*files) for name, files in named.items()}
    identity = replace(load_identity(certificate, key), named=others)
    contexts = {name: other.context for name, other in others.items()}
    for each in (identity, *others.values()):
        show_by_name(each.context, contexts)
    return identity


def load_identity(certificate: Path, key: Path) -> Identity:
    """Read PEM files. Raises `OSError` (`ssl.SSLError` is one) or `ValueError` when they cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 0  # clients stay; a ticket would only cost
    context.set_alpn_protocols(["xmpp-client"])
    context.load_cert_chain(certificate, key)
    shown = x509.load_pem_x509_certificate(certificate.read_bytes())
    data = end_point(shown)
    secret = hashlib.sha256(b"xmpp salts" + key.read_bytes()).digest()
    return Identity(context, {END_POINT: data} if data is not None else {}, secret)


def end_point(certificate: x509.Certificate) -> bytes | None:
    """`tls-server-end-point` (RFC 5929 §4.1); None where it is undefined (Ed25519 and the like)."""
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return None
    if algorithm is None:
        return None
    name = "sha256" if algorithm.name in ("md5", "sha1") else algorithm.name
    return hashlib.new(name, certificate.public_bytes(Encoding.DER)).digest()


class TlsLayer:
    """The server's half of one TLS connection. Raises `ssl.SSLError` when the peer breaks it."""

    __slots__ = ("_incoming", "_object", "_outgoing", "closed", "established")

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.established = False
        self.closed = False
        "The peer has said close_notify."

    @property
    def context(self) -> ssl.SSLContext:
        """The one the client was shown."""
        return self._object.context

    def receive(self, data: bytes) -> bytes:
        """Clear text of what came in; `take` what is to be sent afterwards."""
        if len(data) <= _SLICE:
            return self._receive(data)
        return b"".join(self._receive(data[at : at + _SLICE]) for at in range(0, len(data), _SLICE))

    def _receive(self, data: bytes) -> bytes:
        incoming, tls = self._incoming, self._object
        incoming.write(data)
        if not self.established:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                return b""
            self.established = True
        plain = b""
        while incoming.pending or tls.pending():
            try:
                chunk = tls.read(_SLICE)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                chunk = b""
            if not chunk:
                self.closed = True
                break
            plain = plain + chunk if plain else chunk
        return plain

    def send(self, data: bytes) -> bytes:
        """Records to put on the wire."""
        if len(data) <= _SLICE:
            self._object.write(data)
            return self._outgoing.read()
        records = []
        for at in range(0, len(data), _SLICE):
            self._object.write(data[at : at + _SLICE])
            records.append(self._outgoing.read())
        return b"".join(records)

    def take(self) -> bytes:
        """Handshake and alerts to put on the wire."""
        return self._outgoing.read() if self._outgoing.pending else b""

    def close(self) -> bytes:
        """close_notify (RFC 8446 §6.1)."""
        with suppress(ssl.SSLError):  # it wants the peer's answer, which nobody waits for
            self._object.unwrap()
        return self.take()

    def describe(self) -> str:
        """Version and cipher for humans."""
        cipher = self._object.cipher()
        return f"{self._object.version()} {cipher[0]}" if cipher else ""
