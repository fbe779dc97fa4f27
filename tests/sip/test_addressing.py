from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presence.address import Address, make_address
from presence.errors import InvalidAddress
from sip.addressing import to_address, to_uri, to_xmpp_uri
from sip.errors import ProtocolError
from sip.uri import parse_uri

BOTH_WAYS = [
    ("sip:alice@example.org", Address("alice", "example.org")),
    ("sip:f%C3%BC@sip.example", Address("fü", "sip.example")),
    ("sip:o'malley@sip.example", Address("o\\27malley", "sip.example")),
    ("sip:m&m@sip.example", Address("m\\26m", "sip.example")),
    ("sip:tsch%C3%BCss@sip.example", Address("tschüss", "sip.example")),
    ("sip:a/b@sip.example", Address("a\\2fb", "sip.example")),
    ("sip:%7Bx%7D%5E@sip.example", Address("{x}^", "sip.example")),
    ("sip:a%40b@sip.example", Address("a\\40b", "sip.example")),
    ("sip:bob@[2001:db8::1]", Address("bob", "[2001:db8::1]")),
    ("sip:bob@xn--mller-kva.example", Address("bob", "müller.example")),
]


@pytest.mark.parametrize(("uri", "address"), BOTH_WAYS)
def test_rfc_7247_table_both_ways(uri: str, address: Address) -> None:
    assert to_address(parse_uri(uri)) == address
    assert to_uri(address) == uri


@pytest.mark.parametrize(
    ("address", "uri"),
    [
        (Address("alice", "example.org"), "xmpp:alice@example.org"),
        (Address("o\\27malley", "müller.example"), "xmpp:o%5C27malley@xn--mller-kva.example"),
        (Address("tschüss+1", "example.org"), "xmpp:tsch%C3%BCss+1@example.org"),
        (Address("a?b#c%d", "example.org"), "xmpp:a%3Fb%23c%25d@example.org"),
    ],
)
def test_xmpp_uris_carry_what_they_may_and_escape_the_rest(address: Address, uri: str) -> None:
    """RFC 5122 §2.2"""
    assert to_xmpp_uri(address) == uri


@pytest.mark.parametrize(
    "uri", ["pres:alice@example.org", "im:ALICE@Example.ORG", "sip:%61lice@example.org:5060"]
)
def test_other_spellings_name_the_same_person(uri: str) -> None:
    assert to_address(parse_uri(uri)) == Address("alice", "example.org")


@pytest.mark.parametrize(
    ("uri", "status"),
    [
        ("sips:alice@example.org", 416),
        ("tel:+4930", 416),
        ("sip:%00@example.org", 404),
        ("sip:a%20b@e..org", 404),
    ],
)
def test_what_names_nobody_is_refused(uri: str, status: int) -> None:
    with pytest.raises(ProtocolError) as refused:
        to_address(parse_uri(uri))
    assert refused.value.status == status


def test_a_resource_is_a_gruu() -> None:
    assert to_uri(Address("foo", "example.org"), "bar") == "sip:foo@example.org;gr=bar"
    assert to_uri(Address("foo", "example.org"), "büro 1") == "sip:foo@example.org;gr=b%C3%BCro%201"


@given(st.text(min_size=1, max_size=20))
def test_every_address_survives_the_way_to_sip_and_back(local: str) -> None:
    try:
        address = make_address(local, "example.org")
    except InvalidAddress:
        return
    if "\\" in local:  # an escape XEP-0106 does not know stands for itself; one it knows is another spelling
        return
    assert to_address(parse_uri(to_uri(address))) == address


def test_uris_that_name_one_person_in_many_ways_cost_no_more_than_one() -> None:
    uris = [parse_uri(f"sip:alice@example.org;x={number}") for number in range(5000)]
    begun = time.process_time()
    assert {to_address(uri) for uri in uris} == {Address("alice", "example.org")}
    assert time.process_time() - begun < 1
