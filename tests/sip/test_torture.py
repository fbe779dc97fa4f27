"""The torture tests: each message is understood, or refused as the RFC names it (RFC 4475, RFC 5118)."""

from __future__ import annotations

import pytest

from sip.errors import BadHeader, BadMessage
from sip.headers import NameAddr
from sip.message import Request, Response, respond, serialise
from sip.parser import parse_message
from tests.sip.vectors import torture

RFC4475 = torture("rfc4475")
RFC5118 = torture("rfc5118")

REFUSED = {
    "badinv01": 400,
    "clerr": 400,
    "ncl": 400,
    "scalar02": 400,
    "quotbal": 400,
    "ltgtruri": 400,
    "lwsruri": 400,
    "lwsstart": 400,
    "trws": 400,
    "escruri": 400,
    "baddn": 400,
    "badvers": 505,
    "mismatch01": 400,
    "mismatch02": 400,
    "insuf": 400,
    "unkscm": 416,
    "novelsc": 416,
    "multi01": 400,
    "mcl01": 400,
}
DROPPED = {"scalarlg", "bigcode"}
REFUSED_WHEN_READ = {"regbadct": "contacts"}
"Requests whose malformed field concerns only those who need it."
UNDERSTOOD = sorted(RFC4475.keys() - REFUSED.keys() - DROPPED - REFUSED_WHEN_READ.keys())


def request(name: str) -> Request:
    message = parse_message({**RFC4475, **RFC5118}[name])
    assert isinstance(message, Request)
    return message


def test_the_archive_is_whole() -> None:
    assert (len(RFC4475), len(RFC5118), len(UNDERSTOOD)) == (49, 12, 27)


@pytest.mark.parametrize("name", UNDERSTOOD + sorted(RFC5118.keys() - {"ipv6-bad"}))
def test_a_message_is_understood_and_can_be_written_again(name: str) -> None:
    message = parse_message({**RFC4475, **RFC5118}[name])
    assert "Via" not in message.headers or message.vias
    assert "Contact" not in message.headers or message.contacts
    assert "Route" not in message.headers or message.routes
    again = parse_message(serialise(message))
    again.headers.remove("Content-Length")
    message.headers.remove("Content-Length")
    assert (again.headers, again.body) == (message.headers, message.body)
    if isinstance(message, Request):
        assert respond(message, 200).status == 200


@pytest.mark.parametrize(("name", "status"), sorted(REFUSED.items()))
def test_an_invalid_request_is_refused(name: str, status: int) -> None:
    with pytest.raises(BadMessage) as caught:
        parse_message(RFC4475[name])
    assert caught.value.status == status
    assert caught.value.request is not None
    assert serialise(respond(caught.value.request, status)).startswith(b"SIP/2.0 %d" % status)


@pytest.mark.parametrize("name", sorted(DROPPED))
def test_an_invalid_response_is_dropped(name: str) -> None:
    with pytest.raises(BadMessage) as caught:
        parse_message(RFC4475[name])
    assert caught.value.request is None


@pytest.mark.parametrize(("name", "attribute"), sorted(REFUSED_WHEN_READ.items()))
def test_a_malformed_field_is_refused_by_who_needs_it(name: str, attribute: str) -> None:
    with pytest.raises(BadHeader) as caught:
        getattr(request(name), attribute)
    assert caught.value.status == 400


def test_a_short_tortuous_invite() -> None:
    invite = request("wsinv")
    assert invite.to.tag == "1918181833n"
    assert (invite.from_.display, invite.from_.tag) == ('J Rosenberg \\"', "98asjd8")
    assert (invite.max_forwards, invite.call_id, invite.cseq.number) == (68, "wsinv.ndaksdj@192.0.2.1", 9)
    assert [(via.transport, via.host, via.branch) for via in invite.vias] == [
        ("UDP", "192.0.2.2", "390skdjuw"),
        ("TCP", "spindle.example.com", "z9hG4bK9ikj8"),
        ("UDP", "192.168.255.111", "z9hG4bK30239"),
    ]
    assert invite.headers.get("Subject") == ""
    assert invite.headers.get("NewFangledHeader") == "newfangled value continued newfangled value"
    assert invite.headers.get("UnknownHeaderWithUnusualValue") == ";;,,;;,;"
    contact = invite.contacts[0]
    assert isinstance(contact, NameAddr)
    assert (contact.display, contact.parameter("newparam"), contact.parameter("q")) == (
        'Quoted string ""',
        "newvalue",
        "0.33",
    )
    assert invite.routes[0].uri.parameter("unknown-no-value") == ""
    assert len(invite.body) == 150


def test_a_wide_range_of_valid_characters() -> None:
    message = request("intmeth")
    assert message.method == "!interesting-Method0123456789_*+`.%indeed'~"
    assert message.cseq.method == message.method
    assert message.uri.user == "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"
    assert message.uri.password == "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"
    assert message.to.display == "BEL:\x07 NUL:\x00 DEL:\x7f"
    assert message.from_.parameter("fromParam''~+*_!.-%".lower()) == "работающий"


def test_percent_signs_are_escapes_in_uris_only() -> None:
    assert request("esc01").uri.user == "sips%3Auser%40example.com"
    assert request("esc02").method == "RE%47IST%45R"
    assert request("escnull").to.uri.user == "null-%00-null"


def test_no_white_space_before_the_bracket() -> None:
    assert request("lwsdisp").from_.display == "caller"


def test_long_values() -> None:
    message = request("longreq")
    assert len(message.vias) == 34
    assert len(message.call_id) == 141


def test_octets_beyond_the_datagrams_message_are_ignored() -> None:
    message = request("dblreq")
    assert (message.method, message.body) == ("REGISTER", b"")


def test_semicolons_in_the_user_part() -> None:
    uri = request("semiuri").uri
    assert (uri.user, uri.host, uri.parameters) == ("user;par=u%40example.net", "example.com", ())


def test_unknown_transports() -> None:
    assert [via.transport for via in request("transports").vias] == ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]


def test_reason_phrases() -> None:
    unusual = parse_message(RFC4475["unreason"])
    empty = parse_message(RFC4475["noreason"])
    assert isinstance(unusual, Response)
    assert isinstance(empty, Response)
    assert unusual.reason == "= 2**3 * 5**2 но сто девяносто девять - простое"
    assert empty.status == 100


def test_contact_and_uri_parameters_are_told_apart() -> None:
    header = request("cparam01").contacts[0]
    uri = request("cparam02").contacts[0]
    assert isinstance(header, NameAddr)
    assert isinstance(uri, NameAddr)
    assert (header.parameter("unknownparam"), header.uri.parameter("unknownparam")) == ("", None)
    assert (uri.parameter("unknownparam"), uri.uri.parameter("unknownparam")) == (None, "")


def test_an_escaped_header_stays_in_the_contact() -> None:
    contact = request("regescrt").contacts[0]
    assert isinstance(contact, NameAddr)
    assert contact.uri.headers == "Route=%3Csip:sip.example.com%3E"


def test_rfc_2543_syntax() -> None:
    invite = request("inv2543")
    assert (invite.via.branch, invite.from_.tag) == ("", "")
    assert len(invite.body) > 100


def test_an_ipv6_reference_needs_its_brackets() -> None:
    with pytest.raises(BadMessage) as caught:
        parse_message(RFC5118["ipv6-bad"])
    assert caught.value.status == 400


def test_ports_behind_ipv6_references() -> None:
    ambiguous, clear = request("port-ambiguous").uri, request("port-unambiguous").uri
    assert (ambiguous.host, ambiguous.port) == ("2001:db8::10:5070", None)
    assert (clear.host, clear.port) == ("2001:db8::10", 5070)


def test_received_with_and_without_brackets() -> None:
    assert request("via-received-param-with-delim").via.received == "2001:db8::9:255"
    assert request("via-received-param-no-delim").via.received == "2001:db8::9:255"


def test_three_colons_are_tolerated() -> None:
    wrong, right = request("ipv6-bug-abnf-3-colons").uri, request("ipv6-correct-abnf-2-colons").uri
    assert wrong.host == right.host == "2001:db8::192.0.2.1"


def test_mixed_address_families() -> None:
    assert [via.host for via in request("mult-ip-in-header").vias] == [
        "2001:db8::9:1",
        "192.0.2.1",
        "2001:db8::9:255",
    ]
    assert request("ipv4-mapped-ipv6").via.hostport == "[::ffff:192.0.2.10]:19823"
