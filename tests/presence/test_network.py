"""Where an address leads."""

from __future__ import annotations

import pytest

from presence.network import NOBODY_KNOWS, is_own, is_public, visitor_of


@pytest.mark.parametrize(
    ("host", "public"),
    [
        ("8.8.8.8", True),
        ("127.0.0.1", False),
        ("0.0.0.0", False),
        ("10.1.2.3", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("192.168.1.1", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("2001:4860:4860::8888", True),
        ("::", False),
        ("::1", False),
        ("fe80::1", False),
        ("fec0::1", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("2001:db8::1", False),
        # IPv4 addresses in other clothes: mapped, NAT64, 6to4, compatible, a translator's own
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::127.0.0.1", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("64:ff9b::8.8.8.8", True),
        ("64:ff9b:1::7f00:1", False),
        ("2002:7f00:1::", False),
        ("2002:c0a8:101::1", False),
        ("2002:808:808::1", True),
        ("::7f00:1", False),
    ],
)
def test_public_is_what_leads_to_somebody_on_the_internet(host: str, public: bool) -> None:
    assert is_public(host) is public


@pytest.mark.parametrize(
    ("host", "own"),
    [("127.0.0.1", True), ("0.0.0.0", True), ("::1", True), ("::", True), ("::ffff:127.9.9.9", True),
     ("2002:7f00:1::1", True), ("192.168.1.1", False), ("8.8.8.8", False), ("fe80::1", False)],
)  # fmt: skip
def test_own_is_what_everybody_calls_themselves(host: str, own: bool) -> None:
    assert is_own(host) is own


@pytest.mark.parametrize(
    ("peer", "headers", "address"),
    [
        ("127.0.0.1", ("host",), "127.0.0.1"),
        ("127.0.0.1", ("host", "x-forwarded-proto"), NOBODY_KNOWS),
        ("::1", ("via",), NOBODY_KNOWS),
        ("127.0.0.1", ("x-forwarded-for",), NOBODY_KNOWS),
        ("192.0.2.7", ("x-forwarded-for", "x-forwarded-proto"), "192.0.2.7"),
        ("2001:db8::7", (), "2001:db8::7"),
        ("unknown", ("x-forwarded-for",), NOBODY_KNOWS),
    ],
)
def test_who_comes_through_a_proxy_is_not_on_this_machine(
    peer: str, headers: tuple[str, ...], address: str
) -> None:
    assert visitor_of(peer, headers) == address
