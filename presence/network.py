"""What an IP address says of where it is."""

from __future__ import annotations

from collections.abc import Container
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

NOBODY_KNOWS = "0.0.0.0"
"Somebody behind a proxy that does not say who."
_PROXIES_SAY = (
    "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip", "forwarded", "via",
)  # fmt: skip
"Header fields of HTTP that proxies add."

_UNICAST = IPv6Network("2000::/3")
"The only part of IPv6 that leads to anybody anywhere (RFC 4291 §2.4, IANA)."
_NAT64 = IPv6Network("64:ff9b::/96")
"RFC 6052 §2.1."
_6TO4 = IPv6Network("2002::/16")
"RFC 3056 §2: the IPv4 address stands behind the prefix."


def embedded(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that packets to an IPv6 address end at, where it is but a way of writing it."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return IPv4Address(address.packed[12:])
    return IPv4Address(address.packed[2:6]) if address in _6TO4 else None


def is_public(host: str) -> bool:
    """A numeric address that leads to a host on the Internet: not to this machine or its neighbours, nor to
    several. An IPv6 address that stands for an IPv4 address is judged as that."""
    address: IPv4Address | IPv6Address | None = ip_address(host)
    if isinstance(address, IPv6Address):
        address = embedded(address) or (address if address in _UNICAST else None)
    return address is not None and address.is_global and not address.is_multicast


def is_own(host: str) -> bool:
    """A numeric address that means the machine that says it."""
    address: IPv4Address | IPv6Address = ip_address(host)
    if isinstance(address, IPv6Address):
        address = embedded(address) or address
    return address.is_loopback or address.is_unspecified


def visitor_of(peer: str, headers: Container[str]) -> str:
    """The address of who sent an HTTP request. `peer`: the connection's, or what a trusted proxy says
    instead. `headers`: their names, lower case. Who came through a proxy is not on this machine, whatever it
    looks like: whoever is, is trusted with more."""
    try:
        hidden = is_own(peer) and any(name in headers for name in _PROXIES_SAY)
    except ValueError:
        hidden = True
    return NOBODY_KNOWS if hidden else peer
