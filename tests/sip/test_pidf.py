from __future__ import annotations

from xml.etree.ElementTree import fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presence.address import Address
from presence.model import LastSeen, Person, PresenceDocument, PresenceTuple, Show, Text
from sip.errors import ProtocolError
from sip.pidf import from_q, language_of, parse_pidf, render_pidf, to_q, tuple_id

NOW = 1_800_000_000.0
BOB = Address("bob", "example.org")
HEAD = (
    "<presence xmlns='urn:ietf:params:xml:ns:pidf' xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model'"
    " xmlns:r='urn:ietf:params:xml:ns:pidf:rpid' entity='sip:bob@example.org'>"
)


def document(inner: str) -> bytes:
    return f"{HEAD}{inner}</presence>".encode()


def one(status: str = "<basic>open</basic>", more: str = "", beside: str = "") -> PresenceTuple:
    body = document(f"<tuple id='a'><status>{status}</status>{more}</tuple>{beside}")
    (found,) = parse_pidf(body, NOW).tuples
    return found


def person(inner: str) -> str:
    return f"<dm:person id='p'>{inner}</dm:person>"


def doing(*names: str) -> str:
    return person("<r:activities>" + "".join(f"<r:{n}/>" for n in names) + "</r:activities>")


def test_a_plain_document() -> None:
    found = parse_pidf(document("<tuple id='bs35r9f'><status><basic>open</basic></status></tuple>"), NOW)
    assert found.entity == BOB
    assert found.tuples == (PresenceTuple(id="bs35r9f", since=NOW),)
    assert found.person is None


def test_pjsuas_document_with_a_person() -> None:
    body = b"""<?xml version="1.0" encoding="UTF-8"?>
<presence entity="sip:bob@example.org" xmlns="urn:ietf:params:xml:ns:pidf" \
xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid">
 <tuple id="pj02"><status><basic>open</basic></status>
  <timestamp>2026-11-23T07:44:46.671Z</timestamp><note>lunch 5253</note></tuple>
 <dm:person id="pjFF"><rpid:activities>
   <rpid:away />
  </rpid:activities><dm:note>lunch 5253</dm:note></dm:person>
</presence>"""
    found = parse_pidf(body, NOW)
    assert found.person == Person(activities=("away",), notes=(Text("lunch 5253"),))
    (only,) = found.tuples
    assert only.show is Show.AWAY
    assert only.notes == (Text("lunch 5253"),)
    assert int(only.since) == 1_795_419_886


def test_prefixes_are_only_prefixes() -> None:
    body = b"""<p:presence xmlns:p="urn:ietf:params:xml:ns:pidf" entity="pres:bob@example.org">
    <p:tuple id="x"><p:status><p:basic> closed </p:basic></p:status></p:tuple></p:presence>"""
    found = parse_pidf(body, NOW)
    assert found.entity == BOB
    assert not found.tuples[0].open


@pytest.mark.parametrize(
    ("activities", "show"),
    [
        (("on-the-phone",), Show.DND),
        (("busy",), Show.DND),
        (("meeting", "away"), Show.DND),
        (("away",), Show.AWAY),
        (("lunch",), Show.AWAY),
        (("vacation",), Show.XA),
        (("away", "holiday"), Show.XA),
        (("working",), None),
        (("no-such-thing",), None),
        ((), None),
    ],
)
def test_activities_become_a_show(activities: tuple[str, ...], show: Show | None) -> None:
    assert one(beside=doing(*activities)).show is show


def test_show_of_jabber_client_wins_over_activities() -> None:
    found = one("<basic>open</basic><show xmlns='jabber:client'>chat</show>", beside=doing("busy"))
    assert found.show is Show.CHAT


def test_on_the_phone_is_away_where_the_operator_wants_it_and_says_so() -> None:
    body = document(f"<tuple id='a'><status><basic>open</basic></status></tuple>{doing('on-the-phone')}")
    (found,) = parse_pidf(body, NOW, on_the_phone="away").tuples
    assert found.show is Show.AWAY
    assert found.notes == (Text("On the phone", "en"),)


@pytest.mark.parametrize(
    "when", ["9999-12-31T23:59:59-23:59", "9999-12-31T23:59:59.999999Z", "2090-01-01T00:00:00Z"]
)
def test_nobody_is_idle_since_the_future(when: str) -> None:
    found = one(beside=person(f"<r:user-input last-input='{when}'>idle</r:user-input>"))
    assert found.idle_since == NOW


@pytest.mark.parametrize("at", [253_402_300_800.0, 253_402_387_139.0])
def test_a_time_nobody_can_write_does_not_spoil_the_document(at: float) -> None:
    shown = PresenceTuple(id="a", idle_since=at, since=at)
    assert b"9999-12-31T23:59:59Z" in render_pidf(PresenceDocument(address=BOB, version=1, tuples=(shown,)))


def test_idle_is_away_since_then() -> None:
    when = "2026-01-02T03:04:05+01:00"
    idle = person(f"<r:user-input idle-threshold='600' last-input='{when}'>idle</r:user-input>")
    found = one(beside=idle)
    assert found.show is Show.AWAY
    assert found.idle_since == 1_767_319_445.0
    assert one(beside=person("<r:user-input>active</r:user-input>")).show is None


def test_linphones_extended_online_does_not_open_a_closed_tuple() -> None:
    found = one("<basic>closed</basic><o:online xmlns:o='http://www.linphone.org/xsds/pidfonline.xsd'/>")
    assert not found.open
    assert found.show is None


def test_notes_keep_their_language_and_fall_back_from_tuple_to_document_to_person() -> None:
    assert one(more="<note xml:lang='de'>da</note>", beside="<note>x</note>").notes == (Text("da", "de"),)
    assert one(beside="<note>x</note>" + person("<dm:note>y</dm:note>")).notes == (Text("x"),)
    assert one(beside=person("<dm:note>y</dm:note>")).notes == (Text("y"),)
    body = document("<tuple id='a'><status/><note>x</note></tuple>")
    assert parse_pidf(body, NOW, lang="fr").tuples[0].notes == (Text("x", "fr"),)


def test_a_time_in_the_future_is_now() -> None:
    assert one(more="<timestamp>2090-01-01T00:00:00Z</timestamp>").since == NOW
    assert one(more="<timestamp>yesterday</timestamp>").since == NOW


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<presence/>",
        b"no xml",
        document("<tuple>"),
        b"<!DOCTYPE x [<!ENTITY a 'b'>]>" + document(""),
        b"\xff\xfe" + ("<!DOCTYPE x>" + HEAD + "</presence>").encode("utf-16-le"),
        b"<?xml version='1.0' encoding='ebcdic-cp-us'?>" + document(""),
        document("<note>\xff</note>").replace(b"\xc3\xbf", b"\xff"),
        document("<tuple id='a'/>" * 17),
    ],
)
def test_broken_documents_are_400(body: bytes) -> None:
    with pytest.raises(ProtocolError) as refused:
        parse_pidf(body, NOW)
    assert refused.value.status == 400


def test_a_document_in_latin_1_is_read_as_declared() -> None:
    body = b"<?xml version='1.0' encoding='ISO-8859-1'?>" + document(
        "<tuple id='a'><status/><note>Grüße</note></tuple>"
    ).decode().encode("latin-1")
    assert parse_pidf(body, NOW).tuples[0].notes == (Text("Grüße"),)


def test_a_deep_document_is_read_without_harm() -> None:
    body = document("<x>" * 20_000 + "</x>" * 20_000)
    assert parse_pidf(body, NOW).tuples == ()


def render(*tuples: PresenceTuple, who: Person | None = None, last: LastSeen | None = None) -> str:
    made = PresenceDocument(address=BOB, version=1, tuples=tuples, person=who, last_seen=last)
    return render_pidf(made).decode()


def test_resources_become_tuples() -> None:
    text = render(
        PresenceTuple(id="desk", show=Show.AWAY, priority=1, notes=(Text("a < b & c", "en"),), since=NOW),
        PresenceTuple(id="my phone", priority=-5),
    )
    assert (
        '<tuple id="ID-desk"><status><basic>open</basic><show xmlns="jabber:client">away</show></status>'
        '<contact priority="0.007">sip:bob@example.org</contact><note xml:lang="en">a &lt; b &amp; c</note>'
        "<timestamp>2027-01-15T08:00:00Z</timestamp></tuple>"
    ) in text
    assert '<tuple id="ID-my_x20_phone"><status><basic>open</basic></status><contact>sip' in text
    assert "<rpid:activities><rpid:away/></rpid:activities>" in text


def test_nobody_there_is_one_closed_tuple_with_the_last_words() -> None:
    text = render(last=LastSeen(NOW, (Text("good night"),)))
    assert "<basic>closed</basic>" in text
    assert "<note>good night</note>" in text
    assert "open" not in text


def test_what_was_rendered_is_read_as_the_same() -> None:
    tuples = (
        PresenceTuple(id="desk", show=Show.DND, priority=127, notes=(Text("x", "en"),), since=NOW - 5),
        PresenceTuple(id="tv", priority=0, since=NOW - 9, notes=(Text("y"),)),
        PresenceTuple(id="old", open=False, since=NOW - 10, notes=(Text("z"),)),
    )
    text = render(*tuples, who=Person(activities=("meeting",), notes=(Text("busy"),)))
    found = parse_pidf(text.encode(), NOW)
    assert found.person == Person(activities=("meeting",), notes=(Text("busy"),))
    assert [(t.id, t.open, t.priority, t.notes, t.since) for t in found.tuples] == [
        ("desk", True, 127, (Text("x", "en"),), NOW - 5),
        ("tv", True, 0, (Text("y"),), NOW - 9),
        ("old", False, None, (Text("z"),), NOW - 10),
    ]


@given(st.text(max_size=50), st.text(max_size=30))
def test_whatever_the_text_the_document_is_well_formed_and_ids_are_names(note: str, resource: str) -> None:
    text = render(PresenceTuple(id=resource, notes=(Text(note, note),)))
    root = fromstring(text)
    assert root.find("{urn:ietf:params:xml:ns:pidf}tuple") is not None


@given(st.text(max_size=12), st.text(max_size=12))
def test_different_resources_get_different_ids(one: str, other: str) -> None:
    assert (tuple_id(one) == tuple_id(other)) == (one == other)


def test_priorities_of_rfc_8048() -> None:
    assert [to_q(p) for p in (0, 1, 126, 127, -1, None)] == ["0", "0.007", "0.992", "1", "", ""]
    assert len({to_q(p) for p in range(128)}) == 128
    assert [from_q(q) for q in ("0", "1", "0.5")] == [0, 127, 64]
    assert [from_q(q) for q in ("1.1", "x", "nan", None)] == [None] * 4
    assert all(from_q(to_q(p)) == p for p in range(128))


def test_content_language_is_that_of_all_notes() -> None:
    def spoken(*langs: str) -> PresenceDocument:
        tuples = tuple(PresenceTuple(id=str(i), notes=(Text("x", lang),)) for i, lang in enumerate(langs))
        return PresenceDocument(address=BOB, version=1, tuples=tuples)

    assert [language_of(spoken(*langs)) for langs in (("de", "de"), ("de", "fr"), ())] == ["de", "", ""]
