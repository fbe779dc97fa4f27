"""GRUUs: URIs that lead to one phone, wherever it registers from (RFC 5627), or to one XMPP client.

The public one is the address with the phone's instance as `gr`; nothing is kept for it. A temporary one hides
whose it is: its user part is the phone's name, sealed, and it holds as long as the registration it was given
in goes on (the same Call-ID). A `gr` that names no phone is an XMPP client's resource (RFC 7247 §6.3).

# GAP RFC 5627 §6: a temporary GRUU takes messages only: what a SUBSCRIBE is told of names whose it is
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from presence.address import Address, make_address
from presence.errors import InvalidAddress
from sip.addressing import ascii_domain, to_uri
from sip.bindings import Binding, phone_id
from sip.uri import Uri, unescape

_PREFIX = "tgruu."
_NONCE = 12
_MAX = 2000
_PHONE = re.compile(r"phone-[0-9a-f]{8}")


def endpoint_of(uri: Uri) -> str:
    """The endpoint a public GRUU's `gr` names; empty for none."""
    name = unescape(uri.parameter("gr") or "")[:1023] if uri.parameters else ""
    if not name:
        return ""
    if name.lower().startswith("urn:"):
        return f"sip:{phone_id(name)}"
    return f"sip:{name}" if _PHONE.fullmatch(name) else f"xmpp:{name}"


def public(address: Address, binding: Binding) -> str:
    """The address itself, with the phone's instance (RFC 5627 §5.1)."""
    return to_uri(address, binding.instance)


@dataclass(frozen=True, slots=True)
class Temporary:
    """What a temporary GRUU stands for."""

    address: Address
    phone: str
    "Id of the binding."
    registration: str
    "Of its Call-ID."

    def holds(self, binding: Binding) -> bool:
        """Whether the phone is still registered as it was (RFC 5627 §5.1)."""
        return binding.id == self.phone and _registration(binding) == self.registration


class Sealer:
    """Makes and reads temporary GRUUs. Processes of one server share the secret, over restarts, too."""

    def __init__(self, secret: bytes) -> None:
        self._cipher = AESGCM(hashlib.sha256(b"temporary gruu" + secret).digest())

    def temporary(self, address: Address, binding: Binding) -> str:
        """A new one (RFC 5627 §5.1): nobody else can tell whose it is, nor whether two are one phone's."""
        nonce = secrets.token_bytes(_NONCE)
        plain = f"{binding.id} {_registration(binding)} {address.local}".encode()
        sealed = self._cipher.encrypt(nonce, plain, address.domain.encode())
        token = base64.b32encode(nonce + sealed).decode().rstrip("=").lower()
        return f"sip:{_PREFIX}{token}@{ascii_domain(address.domain)};gr"

    def read(self, uri: Uri) -> Temporary | None:
        """None for what is no temporary GRUU of this server."""
        if not uri.user.startswith(_PREFIX) or len(uri.user) > _MAX:
            return None
        token = uri.user.removeprefix(_PREFIX).upper()
        try:
            raw = base64.b32decode(token + "=" * (-len(token) % 8))
            domain = make_address("", uri.host).domain
            plain = self._cipher.decrypt(raw[:_NONCE], raw[_NONCE:], domain.encode()).decode()
            phone, registration, local = plain.split(" ", 2)
            return Temporary(make_address(local, domain), phone, registration)
        except (binascii.Error, ValueError, InvalidTag, InvalidAddress):
            return None


def _registration(binding: Binding) -> str:
    return hashlib.blake2b(binding.call_id.encode("utf-8", "replace"), digest_size=8).hexdigest()
