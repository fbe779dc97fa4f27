"""Addresses in SIP's spelling (RFC 7247 §6).

The domain's address carries what XMPP cannot carry as XEP-0106 escapes; a SIP URI carries what SIP cannot
carry as percent-escapes. Both directions agree: `to_address(to_uri(a)) == a`.
"""

from __future__ import annotations

from functools import lru_cache

import idna

from presence.address import Address, make_address
from presence.errors import InvalidAddress
from sip.errors import ProtocolError
from sip.uri import Uri, parse_uri, unescape

# RFC 7622 §3.3.1 excludes these from a localpart, XEP-0106 §4 escapes them.
_TO_ESCAPE = {ord(c): f"\\{ord(c):02x}" for c in " \"&'/:<>@"}
_FROM_ESCAPE = {f"{ord(c):02x}": c for c in " \"&'/:<>@\\"}

# RFC 3261 §25.1: unreserved and user-unreserved.
_USER_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.!~*'()&=+$,;?/")
_PARAMETER_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.!~*'()[]/:&+$")

# RFC 5122 §2.2: unreserved and nodeallow.
_NODE_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$()*+,;=")


def to_address(uri: Uri) -> Address:
    """Whom a URI names. Raises `ProtocolError`: 416 for a scheme that names nobody here, 404 for what is
    no address.

    RFC 7247 §8: a sips URI promises what the XMPP side cannot keep, so it is never translated.
    """
    if uri.scheme not in ("sip", "im", "pres"):
        raise ProtocolError(416)
    # Remembered by what counts: URIs that differ in the rest share one hash, and anybody can write thousands.
    return _named(uri.user, uri.host)


@lru_cache(maxsize=8192)
def _named(user: str, host: str) -> Address:
    try:
        return make_address(unescape(user).translate(_TO_ESCAPE), _domain(host))
    except InvalidAddress:
        raise ProtocolError(404) from None


def _domain(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@lru_cache(maxsize=8192)
def to_uri(address: Address, resource: str = "") -> str:
    """`sip:user@domain`, with the resource as `gr` (RFC 7247 §6.3)."""
    user = f"{percent(unescape_xmpp(address.local), _USER_SAFE)}@" if address.local else ""
    gruu = f";gr={percent(resource, _PARAMETER_SAFE)}" if resource else ""
    return f"sip:{user}{ascii_domain(address.domain)}{gruu}"


def to_xmpp_uri(address: Address) -> str:
    """`xmpp:user@domain` (RFC 5122 §2.2)."""
    local = f"{percent(address.local, _NODE_SAFE)}@" if address.local else ""
    return f"xmpp:{local}{ascii_domain(address.domain)}"


@lru_cache(maxsize=8192)
def call_info(address: Address) -> str:
    """A Call-Info by which phones learn somebody's XMPP address (RFC 7081 §3.5, RFC 6993)."""
    return f"<{to_xmpp_uri(address)}>;purpose=impp"


@lru_cache(maxsize=8192)
def parsed_uri(address: Address) -> Uri:
    return parse_uri(to_uri(address))


def unescape_xmpp(local: str) -> str:
    """XEP-0106 escapes undone."""
    if "\\" not in local:
        return local
    first, *parts = local.split("\\")
    text = [first]
    for part in parts:
        meant = _FROM_ESCAPE.get(part[:2].lower())
        text.append(meant + part[2:] if meant is not None else "\\" + part)
    return "".join(text)


def percent(text: str, safe: frozenset[str]) -> str:
    """Every octet outside `safe` as `%hh`."""
    if safe.issuperset(text):
        return text
    return "".join(c if c in safe else "".join(f"%{octet:02X}" for octet in c.encode()) for c in text)


def ascii_domain(domain: str) -> str:
    """A-labels: SIP's host grammar knows nothing else (RFC 3261 §25.1)."""
    if domain.isascii():
        return domain
    return idna.encode(domain).decode()
