from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presence.address import Address, make_address, parse_address
from presence.errors import InvalidAddress


@pytest.mark.parametrize(
    ("text", "local", "domain"),
    [
        ("alice@example.org", "alice", "example.org"),
        ("Alice@Example.ORG.", "alice", "example.org"),
        ("example.org", "", "example.org"),
        ("+4930123@localhost", "+4930123", "localhost"),
        (r"o\27malley@example.org", r"o\27malley", "example.org"),
        ("TSCHÜSS@example.org", "tschüss", "example.org"),
        ("ｂｏｂ@example.org", "bob", "example.org"),
        ("bob@xn--bcher-kva.example", "bob", "bücher.example"),
        ("bob@BÜCHER.example", "bob", "bücher.example"),
        ("bob@bücher。example", "bob", "bücher.example"),
        ("bob@127.0.0.1", "bob", "127.0.0.1"),
        ("bob@[0:0:0:0:0:0:0:1]", "bob", "[::1]"),
    ],
)
def test_an_address_is_brought_into_its_one_canonical_form(text: str, local: str, domain: str) -> None:
    assert parse_address(text) == Address(local, domain)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@example.org",
        "alice@",
        "alice@example.org/desk",
        "alice@bob@example.org",
        "al ice@example.org",
        "a\x00b@example.org",
        "o'malley@example.org",
        "a&b@example.org",
        "a<b@example.org",
        "a:b@example.org",
        "sip:alice@example.org",
        "ｂ＠ｂ@example.org",
        "\ud800@example.org",
        "alice@-example.org",
        "alice@example..org",
        "alice@exa mple.org",
        "alice@xn--a.example",
        "alice@[::1",
        "alice@[fe80::1%eth0]",
        "alice@[127.0.0.1]",
        "alice@" + "a" * 64 + ".org",
        "alice@" + "a." * 127 + "org",
        "a" * 1024 + "@example.org",
        "ü" * 512 + "@example.org",
        "a" * 5000,
    ],
)
def test_what_rfc_7622_does_not_allow_is_refused(text: str) -> None:
    with pytest.raises(InvalidAddress):
        parse_address(text)


def test_parts_may_be_given_apart() -> None:
    assert make_address("Alice", "EXAMPLE.org") == parse_address("alice@example.org")
    assert make_address("", "EXAMPLE.org") == Address("", "example.org")


def test_the_longest_localpart_is_allowed() -> None:
    assert parse_address("a" * 1023 + "@example.org").local == "a" * 1023


@given(st.text(max_size=40))
def test_a_canonical_address_is_its_own_canonical_form(text: str) -> None:
    try:
        once = parse_address(f"{text}@example.org")
    except InvalidAddress:
        return
    assert parse_address(str(once)) == once


@given(st.text(max_size=40))
def test_a_canonical_domain_is_its_own_canonical_form(text: str) -> None:
    try:
        once = make_address("", text)
    except InvalidAddress:
        return
    assert parse_address(str(once)) == once
