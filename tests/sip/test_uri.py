from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.errors import BadUri
from sip.uri import Uri, equivalent, parse_uri, request_uri, unescape


@pytest.mark.parametrize(
    "text",
    [
        "sip:alice@example.org",
        "SIP:Alice:secret@EXAMPLE.org:05060;transport=TCP;lr?Subject=a%20b&To=c",
        "sips:[2001:DB8::9:1]:5061",
        "sip:user;par=u%40example.net@example.com",
        "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d@example.com",
        "tel:+1-201-555-0123;phone-context=example.com",
        "pres:alice@example.org",
        "im:alice@example.org?subject=x",
        "urn:service:sos",
        "sip:u07-0x556b10e13d80@127.0.0.1:45049;transport=tcp;ob",
        "sip:c121@example.org;gr=urn:uuid:11111111-2222-3333-4444-555555555555",
        "sip:xyz.invalid;transport=ws",
        "sip:jürgen@example.org",
    ],
)
def test_a_uri_is_written_as_it_was_read(text: str) -> None:
    assert str(parse_uri(text)) == text


def test_the_parts_of_a_uri() -> None:
    uri = parse_uri("SIPS:Alice:secret@[2001:DB8::1]:5061;transport=tcp;lr?Subject=x")
    assert uri == Uri(
        "sips",
        "Alice",
        "2001:db8::1",
        5061,
        (("transport", "tcp"), ("lr", None)),
        "Subject=x",
        "secret",
    )
    assert (uri.secure, uri.hostport) == (True, "[2001:db8::1]:5061")
    assert (uri.parameter("transport"), uri.parameter("lr"), uri.parameter("ob")) == ("tcp", "", None)


def test_a_changed_uri_is_written_canonically() -> None:
    uri = parse_uri("SIP:a@EXAMPLE.org;x=1;y")
    assert str(uri.with_parameter("x", "2")) == "sip:a@example.org;x=2;y"
    assert str(uri.with_parameter("z")) == "sip:a@example.org;x=1;y;z"
    assert str(uri.without_parameter("X")) == "sip:a@example.org;y"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sip:",
        "alice@example.org",
        "sip:@example.org",
        "sip:a@",
        "sip:a@b@c",
        "sip:a@b:",
        "sip:a@b:65536",
        "sip:a@b:port",
        "sip:2001:db8::10",
        "sip:[2001:db8::10",
        "sip:[2001:db8::10]x",
        "sip:[fe80::1%25eth0]",
        "sip:a b@c",
        "sip:a@b;",
        "sip:a@b;;c",
        "<sip:a@b>",
        'sip:a"@b',
        "sip:a@b\r\nVia: x",
        "sip:" + "a" * 3000 + "@b",
    ],
)
def test_what_is_no_uri_is_refused(text: str) -> None:
    with pytest.raises(BadUri):
        parse_uri(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        # RFC 3261 §19.1.4, the examples.
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
        ("sip:a@[2001:db8::1]", "sip:a@[2001:db8:0::1]"),
    ],
)
def test_equivalent_uris(one: str, other: str) -> None:
    assert equivalent(parse_uri(one), parse_uri(other))
    assert equivalent(parse_uri(other), parse_uri(one))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        # RFC 3261 §19.1.4, the examples.
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ("sip:bob@biloxi.com", "sips:bob@biloxi.com"),
        ("sip:bob@biloxi.com;maddr=192.0.2.1", "sip:bob@biloxi.com"),
    ],
)
def test_uris_that_are_not_equivalent(one: str, other: str) -> None:
    assert not equivalent(parse_uri(one), parse_uri(other))
    assert not equivalent(parse_uri(other), parse_uri(one))


def test_escapes_are_utf_8_or_else_latin_1() -> None:
    assert [unescape(text) for text in ("f%C3%BC", "f%fc", "100%", "a%00b")] == ["fü", "fü", "100%", "a\0b"]


@given(st.text())
def test_any_text_is_a_uri_or_refused(text: str) -> None:
    for candidate in (text, "sip:" + text, f"sip:a@{text}", f"sip:a@b;{text}"):
        try:
            uri = parse_uri(candidate)
        except BadUri:
            continue
        assert str(uri) == candidate
        assert equivalent(uri, uri)


_WORD = st.text("abcXYZ019-_.!~*'()&=+$%", min_size=1, max_size=12)


@given(
    _WORD, st.from_regex(r"[a-z][a-z0-9.]{0,20}", fullmatch=True), st.none() | st.integers(0, 65535), _WORD
)
def test_a_built_uri_is_read_back(user: str, host: str, port: int | None, value: str) -> None:
    uri = Uri("sip", user, host, port, (("a", value), ("b", None)))
    assert parse_uri(str(uri)) == uri


@pytest.mark.parametrize(
    ("contact", "asked"),
    [
        ("sip:bob@192.0.2.1;transport=tcp", "sip:bob@192.0.2.1;transport=tcp"),
        ("sip:bob@192.0.2.1;ob?Subject=x&Route=%3Csip:evil%3E", "sip:bob@192.0.2.1;ob"),
        ("sip:bob@192.0.2.1;METHOD=INVITE;ob?a=b", "sip:bob@192.0.2.1;ob"),
        ("sip:bob:pw@[2001:db8::1]:5070?a=b", "sip:bob:pw@[2001:db8::1]:5070"),
        ("sip:bob@192.0.2.1;x=" + "y" * 300 + "?a=b", "sip:bob@192.0.2.1;x=" + "y" * 300),
    ],
)
def test_what_a_request_uri_may_not_have_is_left_out(contact: str, asked: str) -> None:
    """RFC 3261 §19.1.1, table 1."""
    assert str(request_uri(contact)) == asked
