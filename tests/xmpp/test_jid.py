"""JIDs (RFC 7622)."""

from __future__ import annotations

import pytest

from presence.address import Address
from presence.errors import InvalidAddress
from xmpp.jid import JID, parse_jid, parse_resource


@pytest.mark.parametrize(
    ("text", "local", "domain", "resource"),
    [
        ("juliet@example.com", "juliet", "example.com", ""),
        ("Juliet@Example.COM/Balcony", "juliet", "example.com", "Balcony"),
        ("juliet@example.com/foo bar", "juliet", "example.com", "foo bar"),
        ("juliet@example.com/foo@bar/baz", "juliet", "example.com", "foo@bar/baz"),
        ("fussball@example.com/🏠", "fussball", "example.com", "🏠"),
        ("example.com/server", "", "example.com", "server"),
        ("a@b/e\u0301", "a", "b", "é"),
        ("a@b/x\u00a0y", "a", "b", "x y"),
    ],
)
def test_a_jid_is_read_into_its_canonical_form(text: str, local: str, domain: str, resource: str) -> None:
    jid = parse_jid(text)
    assert jid == JID(local, domain, resource)
    assert jid.bare == Address(local, domain)
    assert parse_jid(str(jid)) == jid


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "@example.com",
        "juliet@",
        "juliet@example.com/",
        "/phone",
        "a b@example.com",
        "a@b/\x00",
        "a@b/\u200b",
        "a@b/" + "x" * 1024,
        "a@b/" + "é" * 512,
        "a@" * 2000,
    ],
)
def test_what_is_no_jid_is_refused(text: str) -> None:
    with pytest.raises(InvalidAddress):
        parse_jid(text)


def test_full_and_bare() -> None:
    jid = JID.of(Address("alice", "example.org"), "phone")
    assert str(jid) == jid.full == "alice@example.org/phone"
    assert not jid.is_bare
    assert JID.of(jid.bare).is_bare
    assert str(JID("", "example.org")) == "example.org"
    assert len({jid, parse_jid("ALICE@example.org/phone"), parse_jid("alice@example.org/Phone")}) == 2


def test_the_longest_resource_has_1023_octets() -> None:
    assert parse_resource("x" * 1023) == "x" * 1023
