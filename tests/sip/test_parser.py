from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.errors import BadMessage
from sip.message import Request, Response, respond, serialise
from sip.parser import MAX_FIELDS, MAX_LINE, parse_head, parse_message

START = "MESSAGE sip:bob@example.org SIP/2.0"
FIELDS = {
    "Via": "SIP/2.0/UDP h;branch=z9hG4bK1",
    "From": "<sip:alice@example.org>;tag=1",
    "To": "<sip:bob@example.org>",
    "Call-ID": "c",
    "CSeq": "1 MESSAGE",
    "Content-Length": "5",
}


def wire(start: str = START, body: bytes = b"hello", **changed: str | None) -> bytes:
    """A message; keyword `Call_ID=None` leaves a field out, a text replaces it."""
    fields: dict[str, str | None] = {**FIELDS}
    fields |= {name.replace("_", "-"): value for name, value in changed.items()}
    lines = [start, *(f"{name}: {value}" for name, value in fields.items() if value is not None)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def accepted(data: bytes) -> Request:
    message = parse_message(data)
    assert isinstance(message, Request)
    return message


def refused(data: bytes) -> BadMessage:
    with pytest.raises(BadMessage) as caught:
        parse_message(data)
    return caught.value


def test_a_plain_message() -> None:
    request = accepted(wire())
    assert (request.method, str(request.uri), request.body) == ("MESSAGE", "sip:bob@example.org", b"hello")
    assert (request.via.branch, request.from_.tag, request.cseq.number) == ("z9hG4bK1", "1", 1)


def test_a_response() -> None:
    response = parse_message(wire("SIP/2.0 180 Es läutet"))
    assert isinstance(response, Response)
    assert (response.status, response.reason, response.body) == (180, "Es läutet", b"hello")


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n" + wire(),
        wire().replace(b"Call-ID: c", b"i:c"),
        wire().replace(b"To: ", b"t  :   "),
        wire().replace(b"\r\nTo: ", b"\r\nTo:\r\n\t"),
        wire().replace(b"MESSAGE sip", b"MESSAGE SIP"),
        wire().replace(b"SIP/2.0\r\n", b"sip/2.0\r\n"),
        wire(Content_Length=None),
        wire(body=b"hello and what is beyond the length"),
        wire(Content_Length="  5"),
        wire(Content_Length="0005"),
        wire().replace(b"Content-Length: 5", b"Content-Length: 5\r\nl: 5"),
    ],
)
def test_what_may_be_written_differently_is_accepted(data: bytes) -> None:
    request = accepted(data)
    assert (request.body, request.call_id, request.to.uri.user) == (b"hello", "c", "bob")


def test_an_ack_is_accepted() -> None:
    assert accepted(wire("ACK sip:bob@example.org SIP/2.0", CSeq="1 ACK")).method == "ACK"


def test_names_in_utf_8_and_in_latin_1() -> None:
    assert accepted(wire(From="Jürgen <sip:j@d>;tag=1")).from_.display == "Jürgen"
    latin = wire(From="J\x00rgen <sip:j@d>;tag=1").replace(b"\x00", b"\xfc")
    assert accepted(latin).from_.display == "Jürgen"


def test_unknown_fields_and_parameters_survive_byte_for_byte() -> None:
    value = ';;,,;;,; "un=closed  \\ x'
    request = accepted(wire(X_Odd=value, Contact='<sip:a@b;ob>;+x="<a,b>";q=.5'))
    assert request.headers.get("x-odd") == value
    assert b'Contact: <sip:a@b;ob>;+x="<a,b>";q=.5\r\n' in serialise(request)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (wire("MESSAGE sip:bob@example.org SIP/7.0"), 505),
        (wire("MESSAGE http://example.org SIP/2.0"), 416),
        (wire("MESSAGE mailto:bob@example.org SIP/2.0"), 416),
        (wire("MESSAGE bob SIP/2.0"), 400),
        (wire("MESSAGE  sip:bob@example.org SIP/2.0"), 400),
        (wire("MESSAGE sip:bob@example.org SIP/2.0 "), 400),
        (wire("MESSAGE <sip:bob@example.org> SIP/2.0"), 400),
        (wire("MES(AGE sip:bob@example.org SIP/2.0"), 400),
        (wire("MESSAGE sip:bob@example.org?To=x SIP/2.0"), 400),
        (wire("hello"), 400),
        (wire(CSeq="2147483648 MESSAGE"), 400),
        (wire(CSeq="1 PUBLISH"), 400),
        (wire(CSeq="x"), 400),
        (wire(CSeq=None), 400),
        (wire(From=None), 400),
        (wire(To=None), 400),
        (wire(Call_ID=None), 400),
        (wire(Call_ID=""), 400),
        (wire(To='"Bob <sip:bob@example.org>'), 400),
        (wire(Via="SIP/2.0/UDP"), 400),
        (wire(Content_Length="-1"), 400),
        (wire(Content_Length="6"), 400),
        (wire(Content_Length="five"), 400),
        (wire(Content_Length="٥"), 400),
        (wire(Content_Length="99999999999999999999"), 400),
        (wire(Content_Length="5, 5"), 400),
        (wire().replace(b"Content-Length: 5", b"Content-Length: 5\r\nl: 4"), 400),
        (wire().replace(b"To:", b"To: <sip:eve@example.org>\r\nTo:"), 400),
        (wire().replace(b"Call-ID: c", b"Call-ID: c\r\nCall-ID: d"), 400),
        (wire().replace(b"Call-ID: c", b"Call-ID: c\nEvil: 1"), 400),
        (wire().replace(b"Call-ID: c", b"Call-ID: c\rEvil: 1"), 400),
        (wire().replace(b"Call-ID: c", b"Call-ID: c\0"), 400),
        (wire().replace(b"Call-ID: c", b"Call-ID: c\r\nno colon"), 400),
        (wire().replace(b"Call-ID: c", b"Call-ID: c\r\nSubject"), 400),
        (wire().replace(b"Call-ID: c", b"Call-ID: c\r\nSub ject: x"), 400),
        (wire().replace(b"\r\n\r\nhello", b""), 400),
        (wire(Subject="x" * MAX_LINE), 400),
        (wire().replace(b"Call-ID", b"X: 1\r\n" * MAX_FIELDS + b"Call-ID"), 400),
        (wire(body=b"x" * 70_000, Content_Length=None), 513),
    ],
)
def test_what_cannot_be_processed_is_refused(data: bytes, status: int) -> None:
    refusal = refused(data)
    assert refusal.status == status
    assert refusal.request is not None
    answer = serialise(respond(refusal.request, refusal.status, refusal.reason, headers=refusal.headers))
    head = answer.partition(b"\r\n\r\n")[0]
    assert answer.startswith(b"SIP/2.0 %d " % status)
    assert head.count(b"\n") == head.count(b"\r") == head.count(b"\r\n")
    assert b"Via: SIP/2.0/UDP" in head


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        b"\0",
        b"jaK",
        b"\xff" * 100,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        wire(Via=None),
        wire("ACK sip:bob@example.org SIP/2.0", CSeq="x ACK"),
        wire("SIP/2.0 200 OK", To=None),
        wire("SIP/2.0 4294967301 better not break the receiver"),
        wire("SIP/2.0 999 x"),
        wire("SIP/3.0 200 OK"),
        wire("SIP/2.0 200 OK", Content_Length="9"),
    ],
)
def test_what_cannot_be_answered_is_dropped(data: bytes) -> None:
    assert refused(data).request is None


def test_a_head_alone_can_be_answered() -> None:
    head = wire(Content_Length="9999999").partition(b"\r\n\r\n")[0]
    request = parse_head(head)
    assert request is not None
    assert respond(request, 513).cseq.number == 1
    assert parse_head(b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h") is None
    assert parse_head(b"garbage") is None


_NAMES = st.sampled_from(["Subject", "X-Custom", "Contact", "Accept", "Route", "User-Agent", "Require"])
_VALUES = st.text(st.characters(exclude_characters="\r\n\0", codec="utf-8"), max_size=60)


@given(st.lists(st.tuples(_NAMES, _VALUES), max_size=8), st.binary(max_size=200))
def test_what_is_written_is_read_back(extra: list[tuple[str, str]], body: bytes) -> None:
    original = accepted(wire(Content_Length=None, body=b""))
    for name, value in extra:
        original.headers.add(name, value.strip(" \t"))
    original.body = body
    data = serialise(original)
    again = accepted(data)
    again.headers.remove("Content-Length")
    assert (again.method, again.uri, again.headers, again.body) == (
        original.method,
        original.uri,
        original.headers,
        body,
    )
