"""Addresses: `user@domain`, SIP's address-of-record and XMPP's bare JID in one canonical form.

RFC 7622 §3 (parts and limits), RFC 8265 §3.3 (UsernameCaseMapped), RFC 5890 and UTS #46 (domains). Two
addresses are the same person exactly when they are equal. A character XMPP cannot carry stands here in its
XEP-0106 escape, which the SIP side writes and reads (RFC 7247 §6).
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address

import idna
import msgspec
from precis_i18n import get_profile

from presence.errors import InvalidAddress

_USERNAME = get_profile("UsernameCaseMapped")
_MAX_PART = 1023
"Octets of each part (RFC 7622 §3.2, §3.3)."
_MAX_DOMAIN = 253
"Characters of a domain name in its ASCII form (RFC 1035 §2.3.4, without the root's dot)."

# The plain cases are decided by one linear scan each; everything else takes the long way.
_PLAIN_LOCAL = re.compile(r"[!#-%(-.0-9;=?A-Z\[-~]+")
_PLAIN_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*")
_EXCLUDED = frozenset("\"&'/:<>@")
"RFC 7622 §3.3.1."


class Address(msgspec.Struct, frozen=True, array_like=True, order=True, cache_hash=True):
    """Canonical; build with `parse_address` or `make_address` unless the parts are known to be canonical."""

    local: str
    "UsernameCaseMapped (RFC 8265 §3.3); empty for a bare domain."
    domain: str
    "Lower-case A-label-free form: U-labels as RFC 7622 §3.2 wants them."

    @lru_cache(maxsize=8192)  # noqa: B019 - addresses are values, and the cache is bounded
    def __str__(self) -> str:
        return f"{self.local}@{self.domain}" if self.local else self.domain


@lru_cache(maxsize=8192)
def parse_address(text: str) -> Address:
    """An address from `user@domain` or `domain`. Raises `InvalidAddress`."""
    if len(text) > 2 * _MAX_PART + 1:
        raise InvalidAddress("longer than an address can be")
    local, at, domain = text.partition("@")
    if not at:
        return Address("", canonical_domain(text))
    if not local:
        raise InvalidAddress("nothing stands before the @")
    return Address(canonical_local(local), canonical_domain(domain))


@lru_cache(maxsize=8192)
def make_address(local: str, domain: str) -> Address:
    """An address from its parts; an empty `local` gives a bare domain. Raises `InvalidAddress`."""
    return Address(canonical_local(local) if local else "", canonical_domain(domain))


def canonical_local(text: str) -> str:
    """The localpart of RFC 7622 §3.3. Raises `InvalidAddress`."""
    if len(text) > _MAX_PART:
        raise InvalidAddress("a localpart has at most 1023 octets")
    if _PLAIN_LOCAL.fullmatch(text):
        return text.lower()
    try:
        local: str = _USERNAME.enforce(text)
        octets = len(local.encode())
    except UnicodeError:
        raise InvalidAddress("not a localpart (RFC 8265 §3.3)") from None
    # after the mapping: a full-width commercial at has become a plain one
    if not _EXCLUDED.isdisjoint(local):
        raise InvalidAddress("a localpart has none of \" & ' / : < > @")
    if octets > _MAX_PART:
        raise InvalidAddress("a localpart has at most 1023 octets")
    return local


@lru_cache(maxsize=1024)
def canonical_domain(text: str) -> str:
    """The domainpart of RFC 7622 §3.2: a name or an IP address. Raises `InvalidAddress`."""
    if len(text) > _MAX_PART:
        raise InvalidAddress("a domain has at most 1023 octets")
    if text.startswith("["):
        return _ip_literal(text)
    domain = text.lower().removesuffix(".")
    if len(domain) > _MAX_DOMAIN:
        raise InvalidAddress("a domain has at most 253 characters")
    if _PLAIN_DOMAIN.fullmatch(domain) and "xn--" not in domain:
        return domain
    try:
        # to A-labels and back checks both forms and maps width, case and the ideographic full stop (UTS #46)
        return idna.decode(idna.encode(text.removesuffix("."), uts46=True))
    except UnicodeError:
        raise InvalidAddress("not a domain name (RFC 5890)") from None


def _ip_literal(text: str) -> str:
    try:
        if not text.endswith("]") or "%" in text:
            raise InvalidAddress("not an IPv6 address in brackets")
        return f"[{IPv6Address(text[1:-1]).compressed}]"
    except AddressValueError:
        raise InvalidAddress("not an IPv6 address in brackets") from None
