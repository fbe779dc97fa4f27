from __future__ import annotations

import pytest

from sip.errors import BadHeader
from sip.headers import CSeq, NameAddr
from sip.message import Headers, Request, Response, respond, serialise
from sip.parser import parse_message
from sip.uri import parse_uri


def make_request(method: str = "MESSAGE", *extra: tuple[str, str], body: bytes = b"") -> Request:
    headers = [
        ("Via", "SIP/2.0/UDP proxy.example.org;branch=z9hG4bK2, SIP/2.0/TCP phone;branch=z9hG4bK1;rport"),
        ("Via", "SIP/2.0/TLS far;branch=z9hG4bK0"),
        ("From", '"Alice" <sip:alice@example.org>;tag=a'),
        ("To", "sip:bob@example.org"),
        ("Call-ID", "c@h"),
        ("CSeq", f"7 {method}"),
        *extra,
    ]
    return Request(method, parse_uri("sip:bob@example.org"), headers, body)


def test_headers_are_found_in_any_spelling() -> None:
    headers = Headers([("v", "SIP/2.0/UDP a"), ("CALL-id", "x"), ("X-fOO", "1"), ("x-Foo", "2")])
    assert list(headers.items()) == [
        ("Via", "SIP/2.0/UDP a"),
        ("Call-ID", "x"),
        ("X-Foo", "1"),
        ("X-Foo", "2"),
    ]
    assert (headers.get("i"), headers.get("x-foo"), headers.get("Nothing")) == ("x", "1", None)
    assert "I" in headers
    assert "Route" not in headers


def test_only_lists_are_split_at_commas() -> None:
    headers = Headers(
        [
            ("Date", "Sat, 13 Nov 2010 23:29:00 GMT"),
            ("Subject", "one, two"),
            ("Accept", "text/plain, text/html"),
            ("Accept", "a/b"),
            ("WWW-Authenticate", 'Digest realm="a", nonce="b"'),
            ("Contact", '"x, y" <sip:a@b>, <sip:c@d>'),
        ]
    )
    assert headers.all("Date") == ["Sat, 13 Nov 2010 23:29:00 GMT"]
    assert headers.all("s") == ["one, two"]
    assert headers.all("accept") == ["text/plain", "text/html", "a/b"]
    assert headers.all("WWW-Authenticate") == ['Digest realm="a", nonce="b"']
    assert headers.all("m") == ['"x, y" <sip:a@b>', "<sip:c@d>"]


def test_changing_headers_changes_what_was_parsed() -> None:
    request = make_request()
    assert request.to.tag == ""
    request.headers.set("t", "<sip:bob@example.org>;tag=9")
    assert request.to.tag == "9"
    request.headers.prepend("Via", "SIP/2.0/UDP top;branch=z9hG4bK9")
    assert [via.host for via in request.vias] == ["top", "proxy.example.org", "phone", "far"]
    request.headers.remove("Via")
    request.headers.prepend("Via", "SIP/2.0/UDP only")
    assert next(iter(request.headers.items())) == ("Via", "SIP/2.0/UDP only")


@pytest.mark.parametrize("value", ["a\r\nEvil: 1", "a\nb", "a\rb", "a\0b"])
def test_a_value_cannot_break_out_of_its_line(value: str) -> None:
    headers = Headers()
    for change in (headers.add, headers.set, headers.prepend):
        with pytest.raises(ValueError, match="one line"):
            change("Subject", value)
    with pytest.raises(ValueError, match="token"):
        headers.add("Sub ject", "x")
    assert list(headers.items()) == []


def test_typed_views() -> None:
    request = make_request(
        "SUBSCRIBE",
        ("Contact", "<sip:a@h>;expires=5, <sip:b@h>"),
        ("Expires", "99999999999"),
        ("Event", "presence;id=1"),
        ("Max-Forwards", "70"),
        ("Content-Type", "Application/PIDF+xml; charset=UTF-8"),
        ("Accept", ""),
        ("Route", "<sip:p1;lr>, <sip:p2;lr>"),
        ("Record-Route", "<sip:r;lr>"),
        ("Path", "<sip:e;lr>"),
        ("Subscription-State", "active;expires=7"),
    )
    assert (request.via.host, request.call_id, request.cseq) == (
        "proxy.example.org",
        "c@h",
        CSeq(7, "SUBSCRIBE"),
    )
    assert (request.from_.display, request.from_.tag) == ("Alice", "a")
    assert [str(contact.uri) for contact in request.contacts if isinstance(contact, NameAddr)] == [
        "sip:a@h",
        "sip:b@h",
    ]
    assert (request.expires, request.max_forwards) == (2**32 - 1, 70)
    assert request.event is not None
    assert (request.event.package, request.event.id) == ("presence", "1")
    assert request.content_type is not None
    assert request.content_type.value == "application/pidf+xml"
    assert request.accept == ()
    assert [str(route) for route in request.routes] == ["<sip:p1;lr>", "<sip:p2;lr>"]
    assert [str(route) for route in (*request.record_routes, *request.paths)] == ["<sip:r;lr>", "<sip:e;lr>"]
    assert request.subscription_state is not None
    assert request.subscription_state.expires == 7


def test_absent_fields_are_none_and_a_star_is_a_star() -> None:
    request = make_request()
    assert (request.contacts, request.expires, request.event, request.max_forwards) == ((), None, None, None)
    assert (request.content_type, request.accept, request.routes) == (None, None, ())
    request.headers.add("Contact", "*")
    assert request.contacts == "*"


@pytest.mark.parametrize(
    ("name", "value", "attribute"),
    [
        ("Contact", "*, <sip:a@b>", "contacts"),
        ("Contact", '"x <sip:a@b>', "contacts"),
        ("Expires", "soon", "expires"),
        ("Expires", "-1", "expires"),
        ("Max-Forwards", "256", "max_forwards"),
        ("Event", "", "event"),
        ("Content-Type", "text", "content_type"),
        ("Route", "p1", "routes"),
    ],
)
def test_a_malformed_field_is_400_when_it_is_read(name: str, value: str, attribute: str) -> None:
    request = make_request()
    request.headers.add(name, value)
    with pytest.raises(BadHeader) as caught:
        getattr(request, attribute)
    assert (caught.value.status, caught.value.name) == (400, name)


def test_serialising_tells_the_true_length_and_can_be_read_back() -> None:
    request = make_request("MESSAGE", ("Content-Length", "99"), body="grüß\r\n".encode())
    data = serialise(request)
    assert data.endswith(b"\r\nContent-Length: 8\r\n\r\ngr\xc3\xbc\xc3\x9f\r\n")
    again = parse_message(data)
    assert isinstance(again, Request)
    assert (again.method, again.uri, again.body) == (request.method, request.uri, request.body)
    assert serialise(again) == data


def test_an_answer_copies_what_it_must() -> None:
    request = make_request("SUBSCRIBE", ("Record-Route", "<sip:p;lr>"), ("Subject", "x"), ("Timestamp", "5"))
    response = respond(request, 200, to_tag="t", headers=[("Expires", "60")])
    assert serialise(response).decode() == (
        "SIP/2.0 200 OK\r\n"
        "Via: SIP/2.0/UDP proxy.example.org;branch=z9hG4bK2, SIP/2.0/TCP phone;branch=z9hG4bK1;rport\r\n"
        "Via: SIP/2.0/TLS far;branch=z9hG4bK0\r\n"
        "Record-Route: <sip:p;lr>\r\n"
        'From: "Alice" <sip:alice@example.org>;tag=a\r\n'
        "To: sip:bob@example.org;tag=t\r\n"
        "Call-ID: c@h\r\n"
        "CSeq: 7 SUBSCRIBE\r\n"
        "Expires: 60\r\n"
        "Content-Length: 0\r\n\r\n"
    )


def test_record_route_is_for_dialogs_only() -> None:
    for method, status in (("MESSAGE", 200), ("SUBSCRIBE", 403), ("INVITE", 100)):
        request = make_request(method, ("Record-Route", "<sip:p;lr>"))
        assert "Record-Route" not in respond(request, status).headers


def test_a_100_has_no_tag_but_the_timestamp() -> None:
    response = respond(make_request("INVITE", ("Timestamp", "5")), 100)
    assert (response.to.tag, response.headers.get("Timestamp"), response.reason) == ("", "5", "Trying")


def test_a_repeat_gets_the_same_tag_and_another_request_another() -> None:
    request, repeat, other = make_request(), make_request(), make_request()
    other.headers.set("CSeq", "8 MESSAGE")
    tag = respond(request, 200).to.tag
    assert len(tag) == 16
    assert respond(repeat, 200).to.tag == tag
    assert respond(other, 200).to.tag != tag


def test_a_tag_in_the_request_is_kept() -> None:
    request = make_request()
    request.headers.set("To", "<sip:stage@example.org>;x=1;TAG=old")
    assert respond(request, 200, to_tag="new").headers.get("To") == "<sip:stage@example.org>;x=1;TAG=old"


def test_tag_in_the_address_is_no_tag() -> None:
    request = make_request()
    request.headers.set("To", "<sip:b@c;tag=1>")
    assert respond(request, 200, to_tag="new").to.tag == "new"


def test_stamping_touches_the_top_via_only() -> None:
    request = make_request()
    request.stamp("192.0.2.1", 5)
    assert request.headers.fields("Via") == [
        "SIP/2.0/UDP proxy.example.org;branch=z9hG4bK2;received=192.0.2.1, "
        "SIP/2.0/TCP phone;branch=z9hG4bK1;rport",
        "SIP/2.0/TLS far;branch=z9hG4bK0",
    ]


def test_an_unknown_status_has_a_phrase() -> None:
    assert [Response(status).reason for status in (299, 499, 404)] == ["OK", "Request Failure", "Not Found"]
