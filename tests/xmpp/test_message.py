"""xmpp.message: RFC 6121 §8.5.4 row by row, and `<message/>` ↔ `InstantMessage`."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from presence.address import Address
from presence.errors import Condition
from presence.files import SharedFile
from presence.messages import Audience, ChatState, Failure, InstantMessage, Kind, Report
from presence.model import Text
from xmpp.element import CLIENT_NS, LANG, E, Element
from xmpp.errors import StanzaError
from xmpp.extensions import registry
from xmpp.jid import JID, parse_jid
from xmpp.message import (
    Drop,
    Forward,
    MessageType,
    Submit,
    Way,
    message_type,
    read_message,
    route,
    write_failure,
    write_message,
)
from xmpp.stanza import parse_fragment

ALICE = JID("alice", "example.org", "desk")
BOB = JID("bob", "example.org")
STATES = "http://jabber.org/protocol/chatstates"
RECEIPTS = "urn:xmpp:receipts"
OMEMO = "urn:xmpp:omemo:2"
MARKERS = "urn:xmpp:chat-markers:0"
BARE, FULL, DOMAIN = "bob@example.org", "bob@example.org/sofa", "example.org"

# what the bus then does with a submission (live, waiting, negative) is in test_delivery.py
TABLE = [
    ("normal", BARE, Submit(store=True)),
    ("chat", BARE, Submit(store=True)),
    ("headline", BARE, Submit(store=False)),
    ("groupchat", BARE, "service-unavailable"),
    ("error", BARE, Drop()),
    ("normal", FULL, Submit(store=True)),
    ("chat", FULL, Submit(store=True)),
    ("headline", FULL, Forward),
    ("groupchat", FULL, Forward),
    ("error", FULL, Forward),
    ("chat", DOMAIN, "service-unavailable"),
    ("error", DOMAIN, Drop()),
]


@pytest.mark.parametrize(("type_", "to", "expected"), TABLE)
def test_the_type_and_the_addressee_decide_the_way(type_: str, to: str, expected: Way | type | str) -> None:
    if isinstance(expected, str):
        with pytest.raises(StanzaError, match=expected):
            route(MessageType(type_), parse_jid(to))
    elif isinstance(expected, type):
        assert isinstance(route(MessageType(type_), parse_jid(to)), expected)
    else:
        assert route(MessageType(type_), parse_jid(to)) == expected


@pytest.mark.parametrize(("type_", "told"), [("groupchat", True), ("headline", False), ("error", False)])
def test_only_groupchat_to_a_resource_that_is_gone_is_answered(type_: str, told: bool) -> None:
    way = route(MessageType(type_), parse_jid(FULL))
    assert isinstance(way, Forward)
    assert (way.otherwise is not None) is told


@pytest.mark.parametrize(
    ("written", "meant"),
    [({}, "normal"), ({"type": "chat"}, "chat"), ({"type": "telepathy"}, "normal")],
)
def test_an_absent_or_unknown_type_is_normal(written: dict[str, str], meant: str) -> None:
    assert message_type(E("message", CLIENT_NS, written)) == meant


def read(*children: Element, to: JID = BOB, store: bool = True, **attrs: str) -> InstantMessage:
    stanza = E("message", CLIENT_NS, {"type": "chat", "id": "m1", **attrs}, *children)
    return read_message(
        stanza,
        sender=ALICE,
        to=to,
        lang="en",
        store=store,
        rules=registry(),
        now=1000.0,
        trace="t1",
    )


def body(text: str, lang: str = "") -> Element:
    return E("body", CLIENT_NS, {LANG: lang} if lang else {}, text)


def test_a_message_is_read_whole() -> None:
    request = E("request", RECEIPTS)
    message = read(
        E("subject", CLIENT_NS, {}, "Tea"),
        body("at <five> & six 🫖\nbring milk"),
        body("um fünf", "de"),
        E("thread", CLIENT_NS, {}, "th1"),
        request,
    )
    assert message == InstantMessage(
        id="t1",
        trace="t1",
        sender=ALICE.bare,
        sender_endpoint="xmpp:desk",
        sender_tuple="desk",
        recipient=BOB.bare,
        kind=Kind.CHAT,
        origin_id="m1",
        bodies=(Text("at <five> & six 🫖\nbring milk", "en"), Text("um fünf", "de")),
        subjects=(Text("Tea", "en"),),
        thread="th1",
        created=1000.0,
        wants=(Report.DELIVERED,),
        opaque={"xmpp": b"<request xmlns='urn:xmpp:receipts'/>"},
    )


def test_a_full_jid_names_the_endpoint_and_the_answer_keeps_it_as_written() -> None:
    message = read(body("hi"), to=JID("bob", "example.org", "sofa"))
    assert message.recipient_endpoint == "xmpp:sofa"
    assert b"to='bob@example.org/sofa'" in write_message(message, delayed=False)


WORTH = [
    ((E("composing", STATES),), False),
    ((E("paused", STATES), E("request", RECEIPTS)), False),
    ((), False),
    ((E("received", RECEIPTS, {"id": "m0"}),), True),
    ((E("displayed", MARKERS, {"id": "m0"}),), True),
    ((E("encrypted", "eu.siacs.conversations.axolotl"),), True),
    ((E("subject", CLIENT_NS, {}, "Tea"),), True),
    ((body("hi"), E("active", STATES)), True),
]


@pytest.mark.parametrize(("children", "stored"), WORTH)
def test_only_what_is_of_worth_later_is_stored(children: tuple[Element, ...], stored: bool) -> None:
    assert read(*children).store is stored


def test_what_no_phone_can_show_is_for_xmpp_clients_only() -> None:
    assert read(E("encrypted", "eu.siacs.conversations.axolotl")).audience is Audience.XMPP
    assert read(E("composing", STATES)).audience is Audience.ALL
    assert read(body("hi"), E("active", STATES)).audience is Audience.ALL


def test_what_was_read_is_written_alike() -> None:
    markup = E(
        "html", "http://jabber.org/protocol/xhtml-im", {}, E("b", "http://www.w3.org/1999/xhtml", {}, "hi")
    )
    message = read(body("hi & <bye>"), body("hallo", "de"), markup)
    (stanza,) = parse_fragment(b"<x xmlns='jabber:client'>" + write_message(message, delayed=False) + b"</x>")
    written = stanza.elements[0]
    assert written.attrs == {
        "from": "alice@example.org/desk",
        "to": "bob@example.org",
        "type": "chat",
        "id": "m1",
        LANG: "en",
    }
    assert [(b.text, b.get(LANG)) for b in written.findall("body")] == [("hi & <bye>", ""), ("hallo", "de")]
    assert written.find("html", "http://jabber.org/protocol/xhtml-im") == markup


def test_a_thread_with_a_parent_comes_out_once_with_its_parent() -> None:
    thread = E("thread", CLIENT_NS, {"parent": "p"}, "th1")
    message = read(body("hi"), thread)
    assert message.thread == "th1"
    assert write_message(message, delayed=False).count(b"<thread") == 1


def test_a_message_that_waited_says_since_when_and_where() -> None:
    written = write_message(read(body("hi")), delayed=True)
    assert b"<delay xmlns='urn:xmpp:delay' from='example.org' stamp='1970-01-01T00:16:40.000Z'/>" in written


def test_a_phones_message_comes_from_its_device() -> None:
    message = InstantMessage(
        id="x", trace="t", sender=Address("bob", "example.org"), sender_endpoint="sip:1",
        sender_tuple="desk phone", recipient=ALICE.bare, bodies=(Text("on my way"),), created=1.0,
    )  # fmt: skip
    assert write_message(message, delayed=False) == (
        b"<message from='bob@example.org/desk phone' to='alice@example.org' type='chat'>"
        b"<body>on my way</body>"
        b"<stanza-id xmlns='urn:xmpp:sid:0' by='alice@example.org' id='x'/></message>"
    )


def test_a_failure_names_the_message_and_whom_it_was_for() -> None:
    failure = Failure(
        message_id="x", trace="t", origin_id="m'1", sender=ALICE.bare, sender_endpoint="xmpp:desk",
        recipient=BOB.bare, recipient_endpoint="xmpp:sofa", condition=Condition.NOT_ACCEPTABLE,
        text="too long",
    )  # fmt: skip
    assert write_failure(failure).decode() == (
        "<message from='bob@example.org/sofa' to='alice@example.org/desk' type='error' id='m&apos;1'>"
        "<error type='modify'><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
        "<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>too long</text></error></message>"
    )


@pytest.mark.parametrize(
    ("payload", "fields"),
    [
        (E("composing", STATES), {"chat_state": ChatState.COMPOSING}),
        (E("gone", STATES), {"chat_state": ChatState.GONE}),
        (E("received", RECEIPTS, {"id": "m0"}), {"report": Report.DELIVERED, "about": "m0"}),
        (E("displayed", MARKERS, {"id": "m0"}), {"report": Report.DISPLAYED, "about": "m0"}),
        (E("request", RECEIPTS), {"wants": (Report.DELIVERED,)}),
        (E("markable", MARKERS), {"wants": (Report.DISPLAYED,)}),
    ],
)
def test_notices_mean_the_same_on_both_sides(payload: Element, fields: dict[str, object]) -> None:
    message = read(payload)
    assert {name: getattr(message, name) for name in fields} == fields
    from_phone = replace(message, opaque={})
    (stanza,) = parse_fragment(
        b"<x xmlns='jabber:client'>" + write_message(from_phone, delayed=False) + b"</x>"
    )
    assert [each for each in stanza.elements[0].elements if each.name != "stanza-id"] == [payload]


def test_who_reports_asks_for_no_report() -> None:
    message = read(E("received", RECEIPTS, {"id": "m0"}), E("request", RECEIPTS))
    assert (message.report, message.wants) == (Report.DELIVERED, ())


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        (E("encryption", "urn:xmpp:eme:0", {"namespace": "eu.siacs.conversations.axolotl"}), "OMEMO"),
        (E("encryption", "urn:xmpp:eme:0", {"namespace": "urn:new", "name": "New"}), "New"),
        (
            E(
                "encrypted",
                "urn:xmpp:omemo:2",
                {},
                E("header", "urn:xmpp:omemo:2"),
                E("payload", "urn:xmpp:omemo:2"),
            ),
            "OMEMO",
        ),
        (E("encrypted", "urn:xmpp:omemo:2", {}, E("header", "urn:xmpp:omemo:2")), ""),
        (E("openpgp", "urn:xmpp:openpgp:0"), "OpenPGP"),
        (E("x", "jabber:x:encrypted"), "OpenPGP"),
    ],
)
def test_encrypted_content_is_named_for_those_who_cannot_read_it(payload: Element, name: str) -> None:
    message = read(payload)
    assert message.encrypted == name
    assert message.audience is (Audience.ALL if name else Audience.XMPP)


def test_formatted_text_is_tidied_for_phones_and_carried_untouched_between_clients() -> None:
    xhtml = "http://www.w3.org/1999/xhtml"
    bold = E("strong", xhtml, {"style": "color: red"}, "now")
    message = read(
        body("now"), E("html", "http://jabber.org/protocol/xhtml-im", {}, E("body", xhtml, {}, bold))
    )
    assert message.markup == "<strong>now</strong>"
    assert b"color: red" in write_message(message, delayed=False)


def test_what_a_phone_formatted_is_xhtml_im() -> None:
    message = replace(read(body("now")), markup="<strong>now</strong>")
    (stanza,) = parse_fragment(write_message(message, delayed=False))
    html = stanza.find("html", "http://jabber.org/protocol/xhtml-im")
    assert html is not None
    xhtml = html.find("body", "http://www.w3.org/1999/xhtml")
    assert xhtml is not None
    assert [(e.name, e.text) for e in xhtml.elements] == [("strong", "now")]


URL = "https://files.example.org/summit.jpg"
OOB = E("x", "jabber:x:oob", {}, E("url", "jabber:x:oob", {}, URL))


def metadata(ns: str) -> Element:
    said = {"media-type": "image/jpeg", "name": "summit.jpg", "size": "3032449"}
    return E("file", ns, {}, *(E(name, ns, {}, text) for name, text in said.items()))


SFS = E(
    "file-sharing",
    "urn:xmpp:sfs:0",
    {"disposition": "inline"},
    metadata("urn:xmpp:file:metadata:0"),
    E(
        "sources",
        "urn:xmpp:sfs:0",
        {},
        E("jinglepub", "urn:xmpp:jinglepub:1", {"from": "alice@example.org/desk", "id": "1"}),
        E("url-data", "http://jabber.org/protocol/url-data", {"target": URL}),
    ),
)
SIMS = E(
    "reference",
    "urn:xmpp:reference:0",
    {"type": "data", "begin": "0", "end": "9"},
    E(
        "media-sharing",
        "urn:xmpp:sims:1",
        {},
        metadata("urn:xmpp:jingle:apps:file-transfer:5"),
        E(
            "sources",
            "urn:xmpp:sims:1",
            {},
            E("reference", "urn:xmpp:reference:0", {"type": "data", "uri": "xmpp:alice@example.org?jingle"}),
            E("reference", "urn:xmpp:reference:0", {"type": "data", "uri": URL}),
        ),
    ),
)
WHOLE = SharedFile(URL, "summit.jpg", 3_032_449, "image/jpeg")


@pytest.mark.parametrize(
    ("payloads", "file"),
    [
        ((OOB,), SharedFile(URL)),
        ((SFS,), WHOLE),
        ((SIMS,), WHOLE),
        ((SFS, OOB), WHOLE),
        ((OOB, SFS), WHOLE),
        ((E("x", "jabber:x:oob", {}, E("url", "jabber:x:oob", {}, "aesgcm://example.org/a#b")),), None),
        ((E("reference", "urn:xmpp:reference:0", {"type": "mention", "uri": "xmpp:bob@example.org"}),), None),
    ],
)
def test_a_shared_file_is_known_in_whichever_words(
    payloads: tuple[Element, ...], file: SharedFile | None
) -> None:
    assert read(body(URL), *payloads).file == file


def test_a_file_without_a_body_is_for_phones_too() -> None:
    assert read(SFS).audience is Audience.ALL


def test_a_phones_file_is_shown_inline() -> None:
    message = replace(read(body(URL)), file=WHOLE)
    (stanza,) = parse_fragment(write_message(message, delayed=False))
    assert stanza.find("x", "jabber:x:oob") == OOB
