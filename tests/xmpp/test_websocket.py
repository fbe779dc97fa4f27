"""RFC 7395: the framed stream, message by message."""

from __future__ import annotations

import pytest

from xmpp.effects import Opened
from xmpp.element import CLIENT_NS, E
from xmpp.errors import StreamError
from xmpp.framing import standalone
from xmpp.stream import StanzaReceived, StreamClosed, StreamFailed, StreamOpened
from xmpp.websocket import FramedStream, write_close, write_open

NS = "urn:ietf:params:xml:ns:xmpp-framing"
OPEN = f"<open xmlns='{NS}' to='example.org' version='1.0' xml:lang='de'/>"


def stream() -> FramedStream:
    return FramedStream(max_stanza=10_000, max_depth=8)


def opened() -> FramedStream:
    framed = stream()
    framed.receive(OPEN)
    return framed


def refusal(framed: FramedStream, message: str) -> str:
    (event,) = framed.receive(message)
    assert isinstance(event, StreamFailed)
    return event.error.condition


def test_open_is_the_stream_header() -> None:
    assert stream().receive(OPEN) == [StreamOpened("example.org", "", "1.0", "de")]


def test_an_element_is_a_stanza_with_its_own_namespace() -> None:
    (event,) = opened().receive("<message xmlns='jabber:client'><body>h&amp;i</body></message>")
    assert event == StanzaReceived(E("message", CLIENT_NS, {}, E("body", CLIENT_NS, {}, "h&i")))


def test_without_a_namespace_a_stanza_is_none() -> None:
    """§3.3.3: nothing is inherited from the stream."""
    assert opened().receive("<message/>") == [StanzaReceived(E("message", ""))]


def test_a_restarted_stream_begins_with_open_again() -> None:
    """§3.7."""
    framed = opened()
    framed.reset()
    assert framed.receive(OPEN) == [StreamOpened("example.org", "", "1.0", "de")]


def test_close_ends_it_and_nothing_is_read_behind_it() -> None:
    framed = opened()
    assert framed.receive(f"<close xmlns='{NS}'/>") == [StreamClosed()]
    assert framed.receive("<presence xmlns='jabber:client'/>") == []


@pytest.mark.parametrize(
    ("message", "condition"),
    [
        ("<open xmlns='jabber:client' to='example.org' version='1.0'/>", "invalid-namespace"),
        ("<stream:stream xmlns:stream='http://etherx.jabber.org/streams'/>", "invalid-namespace"),
        ("<stream:stream xmlns:stream='http://etherx.jabber.org/streams'>", "not-well-formed"),
        ("<presence xmlns='jabber:client'/>", "bad-format"),
        (" " + OPEN, "bad-format"),
        ("", "bad-format"),
        ("<a", "not-well-formed"),
    ],
)
def test_what_is_no_beginning_of_a_stream(message: str, condition: str) -> None:
    """§3.3.2, §3.3.3, §3.4."""
    assert refusal(stream(), message) == condition


@pytest.mark.parametrize(
    ("message", "condition"),
    [
        (OPEN, "bad-format"),
        ("<close/>", "invalid-namespace"),
        ("\n", "bad-format"),
        ("<a/><b/>", "not-well-formed"),
        ("<a/>text", "not-well-formed"),
        ("<a><!-- --></a>", "restricted-xml"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "restricted-xml"),
        ("<a>&b;</a>", "restricted-xml"),
        ("<?xml version='1.0' encoding='latin1'?><a/>", "unsupported-encoding"),
        ("<a>\ud800</a>", "unsupported-encoding"),
        ("<a b='" + "c" * 10_000 + "'/>", "policy-violation"),
        ("<a>" * 9 + "</a>" * 9, "policy-violation"),
    ],
)
def test_what_no_stream_may_have(message: str, condition: str) -> None:
    assert refusal(opened(), message) == condition


def test_the_number_of_elements_is_limited() -> None:
    framed = FramedStream(max_stanza=100_000, max_depth=8)
    framed.receive(OPEN)
    assert refusal(framed, "<a>" + "<b/>" * 10_001 + "</a>") == "policy-violation"


def test_a_namespace_is_not_said_once_for_very_many() -> None:
    framed = FramedStream(max_stanza=100_000, max_depth=8)
    framed.receive(OPEN)
    many = f"<a xmlns:p='{'n' * 500}'>" + "<p:b p:c=''/>" * 300 + "</a>"
    assert refusal(framed, many) == "policy-violation"


def test_our_header_is_an_open_element() -> None:
    written = write_open(Opened("i-d", "example.org", "al'ice@example.org"))
    assert stream().receive(written) == [StreamOpened("al'ice@example.org", "example.org", "1.0", "en")]


def test_close_may_name_another_place() -> None:
    """§3.6.1."""
    assert write_close() == f"<close xmlns='{NS}'/>"
    assert write_close("wss://a/b?c&d") == f"<close xmlns='{NS}' see-other-uri='wss://a/b?c&amp;d'/>"


@pytest.mark.parametrize(
    ("element", "alone"),
    [
        (b"<message to='a'>x</message>", b"<message xmlns='jabber:client' to='a'>x</message>"),
        (b"<presence/>", b"<presence xmlns='jabber:client'/>"),
        (b"<iq>x</iq>", b"<iq xmlns='jabber:client'>x</iq>"),
        (b"<r xmlns='urn:xmpp:sm:3'/>", b"<r xmlns='urn:xmpp:sm:3'/>"),
        (
            b"<stream:features/>",
            b"<stream:features xmlns:stream='http://etherx.jabber.org/streams'/>",
        ),
        (
            b"<stream:error><conflict/></stream:error>",
            b"<stream:error xmlns:stream='http://etherx.jabber.org/streams'><conflict/></stream:error>",
        ),
    ],
)
def test_an_element_declares_what_the_stream_header_would_have(element: bytes, alone: bytes) -> None:
    assert standalone(element) == alone


def test_errors_have_a_text() -> None:
    (event,) = stream().receive("x")
    assert isinstance(event, StreamFailed)
    assert isinstance(event.error, StreamError)
    assert event.error.text
