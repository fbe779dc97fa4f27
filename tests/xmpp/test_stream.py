"""The stream's rules, event by event, however the bytes are cut (RFC 6120 §4, §11)."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xmpp.element import CLIENT_NS, LANG, E
from xmpp.stream import Event, StanzaReceived, StreamClosed, StreamCore, StreamFailed, StreamOpened

HEADER = (
    b"<?xml version='1.0'?><stream:stream to='example.org' from='a@example.org' version='1.0' xml:lang='de' "
    b"xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
)
OPENED = StreamOpened("example.org", "a@example.org", "1.0", "de")
BARE = b"xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
LIMIT = 2000
DEPTH = 10


def new_core() -> StreamCore:
    return StreamCore(max_stanza=LIMIT, max_depth=DEPTH)


def drive(pieces: list[bytes], *, whole: bool = False) -> list[Event]:
    """All events of a stream that arrives in these pieces; `whole` from its first stanza on."""
    core = new_core()
    events: list[Event] = []
    for piece in pieces:
        data = piece
        while True:
            known = len(events)
            events += core.receive_data(data)
            if whole and events:
                core.whole = True
            data = b""
            if len(events) == known:
                break
    return events


def events_of(data: bytes) -> list[Event]:
    return drive([data])


def shown(events: list[Event]) -> list[object]:
    """Comparable: stream errors by condition."""
    return [event.error.condition if isinstance(event, StreamFailed) else event for event in events]


MESSAGE = (
    b"<message to='b@example.org'><body>h\xc3\xa9llo &lt;&#x41;</body><x xmlns='urn:x'><y/></x></message>"
)
STREAMS = {
    "two stanzas and the end": HEADER + MESSAGE + b"\n <presence/>  " + MESSAGE + b"</stream:stream>  ",
    "junk behind the end": HEADER + b"<presence/></stream:stream><presence/>",
    "text in pieces": HEADER + b"<message><body>a > b > c ]] > <![CDATA[<x>]]> d</body></message>",
    "a comment": HEADER + b"<presence/><message><!-- > --></message>",
    "a processing instruction": HEADER + b"<presence/><?a b?><presence/>",
    "text between stanzas": HEADER + b"<presence/>hello<presence/>",
    "mismatched tags": HEADER + b"<message><body></message></body>",
    "too large": HEADER + b"<presence/><message><body>" + b"x" * LIMIT + b"</body></message><presence/>",
    "too large by its attribute": HEADER + b"<message id='" + b"x" * LIMIT + b"'/><presence/>",
    "too deep": HEADER + b"<message>" + b"<a>" * DEPTH + b"</a>" * DEPTH + b"</message>",
    "invalid UTF-8": HEADER + b"<message><body>\xff</body></message>",
    "an entity": HEADER + b"<message><body>&foo;</body></message>",
    "a document type": b"<!DOCTYPE a>" + HEADER,
    "just fits": HEADER + b"<a>" + b"x" * (LIMIT - 7) + b"</a><presence/>",
    "just does not": HEADER + b"<a>" + b"x" * (LIMIT - 6) + b"</a><presence/>",
}


@settings(max_examples=40)
@given(st.sampled_from(sorted(STREAMS)), st.lists(st.integers(0, 3000), max_size=12), st.booleans())
def test_any_cut_gives_the_same_events(name: str, cuts: list[int], whole: bool) -> None:
    data = STREAMS[name]
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    pieces = [data[a:b] for a, b in pairwise(edges)]
    assert shown(drive(pieces, whole=whole)) == shown(events_of(data))


@pytest.mark.parametrize("name", sorted(STREAMS))
@pytest.mark.parametrize("whole", [False, True])
def test_byte_by_byte_gives_the_same_events(name: str, whole: bool) -> None:
    data = STREAMS[name]
    assert shown(drive([data[i : i + 1] for i in range(len(data))], whole=whole)) == shown(events_of(data))


def test_the_header_and_stanzas_are_read() -> None:
    message = E(
        "message",
        CLIENT_NS,
        {"to": "b@example.org"},
        E("body", CLIENT_NS, {}, "héllo <A"),
        E("x", "urn:x", {}, E("y", "urn:x")),
    )
    assert events_of(STREAMS["two stanzas and the end"]) == [
        OPENED,
        StanzaReceived(message),
        StanzaReceived(E("presence", CLIENT_NS)),
        StanzaReceived(message),
        StreamClosed(),
    ]


MANY = b"".join(b"xmlns:a%d='u' " % i for i in range(9))


def opening(attributes: bytes, prefix: bytes = b"stream") -> bytes:
    return b"<" + prefix + b":stream " + attributes + b">"


REFUSED = [
    ("host-free garbage", b"GET / HTTP/1.1\r\n\r\n", "bad-format"),
    ("a TLS hello", b"\x16\x03\x01", "bad-format"),
    ("UTF-16", "<?xml".encode("utf-16"), "unsupported-encoding"),
    ("a byte order mark", b"\xef\xbb\xbf<stream", "unsupported-encoding"),
    ("another encoding", b"<?xml version='1.0' encoding='latin-1'?><stream:stream>", "unsupported-encoding"),
    ("another XML", b"<?xml version='1.1'?><a>", "not-well-formed"),
    ("wrong stream namespace", opening(BARE.replace(b"etherx", b"x")), "invalid-namespace"),
    ("wrong content namespace", opening(BARE.replace(b"client", b"server")), "invalid-namespace"),
    ("another prefix", opening(BARE, b"s").replace(b"xmlns:stream", b"xmlns:s"), "bad-namespace-prefix"),
    ("another element", b"<stream:features " + BARE + b">", "bad-format"),
    ("unbound prefix", b"<stream:stream xmlns='jabber:client'>", "not-well-formed"),
    ("many prefixes", opening(MANY + BARE), "invalid-namespace"),
    ("endless header", b"<stream:stream a='" + b"x" * LIMIT, "policy-violation"),
    ("a comment first", b"<!-- a --><stream:stream>", "restricted-xml"),
    ("a document type", b"<!DOCTYPE stream:stream><stream:stream>", "restricted-xml"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "condition"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_a_header_that_is_refused(data: bytes, condition: str) -> None:
    assert shown(events_of(data)) == [condition]


BROKEN = [
    ("unbound prefix", b"<message><foo:body/></message>", "not-well-formed"),
    ("duplicate attribute", b"<message a='1' a='2'/>", "not-well-formed"),
    ("duplicate prefixed attribute", b"<m xmlns:p='u' xmlns:q='u' p:a='' q:a=''/>", "not-well-formed"),
    ("bare ampersand", b"<message>a & b</message>", "not-well-formed"),
    ("control character", b"<message>\x01</message>", "not-well-formed"),
    ("control character by reference", b"<message>&#1;</message>", "not-well-formed"),
    ("nothing character", b"<message>\xef\xbf\xbf</message>", "not-well-formed"),
    ("surrogate", b"<message>\xed\xa0\x80</message>", "unsupported-encoding"),
    ("overlong", b"<message>\xc0\x80</message>", "unsupported-encoding"),
    ("entity in an attribute", b"<message a='&lol;'/>", "restricted-xml"),
    ("comment", b"<!---->", "restricted-xml"),
    ("prefixed client namespace", b"<c:message xmlns:c='jabber:client'/>", "bad-namespace-prefix"),
    ("element of the xml namespace", b"<message><xml:a/></message>", "restricted-xml"),
    ("long name", b"<" + b"a" * 600 + b"/>", "policy-violation"),
    ("long attribute name", b"<a " + b"a" * 600 + b"=''/>", "policy-violation"),
    ("wrong end", b"</stream>", "not-well-formed"),
    ("declaration again", HEADER, "not-well-formed"),
    ("namespace with our separator", b"<a xmlns='u}b'/>", "not-well-formed"),
]  # fmt: skip


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(("data", "condition"), [r[1:] for r in BROKEN], ids=[r[0] for r in BROKEN])
def test_a_stanza_that_ends_the_stream(data: bytes, condition: str, whole: bool) -> None:
    assert shown(drive([HEADER, data], whole=whole)) == [OPENED, condition]


def test_nothing_is_read_after_a_failure() -> None:
    core = new_core()
    core.receive_data(HEADER)
    assert shown(core.receive_data(b"<!-- -->")) == ["restricted-xml"]
    assert core.receive_data(b"<presence/>") == []
    assert core.trailing == b""


def test_before_it_is_whole_what_follows_an_element_stays_unparsed() -> None:
    core = new_core()
    core.receive_data(HEADER)
    (event,) = core.receive_data(b"<starttls xmlns='urn:t'/><message>")
    assert event == StanzaReceived(E("starttls", "urn:t"))
    assert core.trailing == b"<message>"
    core.drop_trailing()
    core.reset()
    assert core.receive_data(HEADER) == [OPENED]


def test_a_stream_that_was_pipelined_behind_authentication_is_kept_over_the_reset() -> None:
    core = new_core()
    core.receive_data(HEADER)
    core.receive_data(b"<auth xmlns='urn:s'/>" + HEADER)
    core.reset()
    assert core.receive_data(b"") == [OPENED]


def test_white_space_between_stanzas_costs_nothing() -> None:
    core = new_core()
    core.receive_data(HEADER)
    for _ in range(LIMIT):
        assert core.receive_data(b" \n") == []
    assert core.trailing == b""
    assert core.receive_data(b" <presence/>") == [StanzaReceived(E("presence", CLIENT_NS))]


@pytest.mark.parametrize("whole", [False, True])
def test_a_parser_that_is_replaced_or_parked_goes_on_in_the_same_stream(whole: bool) -> None:
    core = StreamCore(max_stanza=100_000, max_depth=DEPTH)
    header = b"<stream:stream xmlns:p='urn:p&amp;&lt;' version='1.0' " + BARE + b">"
    assert core.receive_data(header) == [StreamOpened("", "", "1.0", "")]
    core.whole = whole
    wanted = [StanzaReceived(E("message", CLIENT_NS, {"id": "x" * 50_000}, E("a", "urn:p&<")))]
    for _ in range(6):
        assert core.receive_data(b"<message id='" + b"x" * 50_000 + b"'><p:a/></message>") == wanted
        assert core.park()
        assert not core.park(), "there is nothing more to let go"
    assert core.receive_data(b"</stream:stream>") == [StreamClosed()]


def test_a_parked_stream_keeps_a_half_received_stanza() -> None:
    core = new_core()
    core.receive_data(HEADER)
    core.whole = True
    core.receive_data(b"<message><body>a")
    assert not core.park()
    message = E("message", CLIENT_NS, {}, E("body", CLIENT_NS, {}, "a"))
    assert core.receive_data(b"</body></message>") == [StanzaReceived(message)]


@pytest.mark.parametrize("repeated", [b"<p:a/>", b"<a p:b=''/>"])
def test_a_namespace_that_is_said_once_for_very_many_is_refused(repeated: bytes) -> None:
    """Whoever writes the stanza anew says it again each time: twenty times as many bytes."""
    core = StreamCore(max_stanza=100_000, max_depth=DEPTH)
    core.receive_data(HEADER)
    ns = b"n" * 500
    many = b"<message xmlns:p='%s'>%s</message>"
    (event,) = core.receive_data(many % (ns, repeated * 500))
    assert isinstance(event, StanzaReceived)
    (event,) = core.receive_data(many % (ns, repeated * 500))
    assert isinstance(event, StanzaReceived)
    (event,) = core.receive_data(many % (ns, repeated * 600))
    assert isinstance(event, StreamFailed)
    assert event.error.condition == "policy-violation"


def test_a_stanza_of_very_many_elements_is_refused() -> None:
    core = StreamCore(max_stanza=262_144, max_depth=DEPTH)
    core.receive_data(HEADER)
    core.whole = True
    assert shown(core.receive_data(b"<message>" + b"<a/>" * 20_000 + b"</message>")) == ["policy-violation"]


def test_text_in_many_pieces_becomes_one() -> None:
    core = new_core()
    core.receive_data(HEADER)
    core.whole = True
    for piece in (b"<message><body>a", b" > b", b" > c", b"</body></message>"):
        events = core.receive_data(piece)
    (event,) = events
    assert isinstance(event, StanzaReceived)
    assert event.element.elements[0].children == ["a > b > c"]


def test_the_language_of_stanzas_is_kept() -> None:
    core = new_core()
    core.receive_data(HEADER)
    assert core.receive_data(b"<message xml:lang='fr' p:a='1' xmlns:p='urn:p'/>") == [
        StanzaReceived(E("message", CLIENT_NS, {LANG: "fr", "{urn:p}a": "1"}))
    ]
