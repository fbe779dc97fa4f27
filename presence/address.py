"""Addresses: `user@domain`, SIP's address-of-record and XMPP's bare JID in one canonical form (RFC 7622, RFC 8265, RFC 5890)."""

from __future__ import annotations

import msgspec


class Address(msgspec.Struct, frozen=True, array_like=True, order=True, cache_hash=True):
    """Canonical; build with `parse_address` unless the parts are known to be canonical."""

    local: str
    "UsernameCaseMapped (RFC 8265 §3.3); empty for a bare domain."
    domain: str
    "Lower-case A-label-free form: U-labels as RFC 7622 §3.2 wants them."

    def __str__(self) -> str:
        return f"{self.local}@{self.domain}" if self.local else self.domain
