"""Rich presence, capabilities and other times, read and written (RFC 4480, RFC 5196, RFC 3840, RFC 4481)."""

from __future__ import annotations

from pathlib import Path

import pytest

from presence.model import Person, PresenceDocument, PresenceTuple, Text, Timed
from sip.fitting import smaller
from sip.pidf import parse_pidf, render_pidf
from sip.rich import capabilities_of
from tests.sip.house import ALICE, BOB, open_house

NOW = 1_800_000_000.0
TUPLE = PresenceTuple(
    id="desk",
    since=NOW,
    capabilities=("audio", "message", "video"),
    rich=(
        ("class", "work"),
        ("privacy", "audio video"),
        ("relationship", "assistant"),
        ("service-class", "electronic"),
        ("status-icon", "https://example.org/a.png"),
    ),
    timed=(
        Timed(NOW - 3600, NOW - 60, False, (Text("was out"),)),
        Timed(NOW + 3600, None, True),
    ),
)
PERSON = Person(
    activities=("meeting",),
    mood=("happy",),
    rich=(
        ("place-is", "audio:quiet video:dark"),
        ("place-type", "office"),
        ("sphere", "work"),
        ("time-offset", "-240"),
    ),
)


def test_what_is_written_is_read_again() -> None:
    document = PresenceDocument(address=ALICE, version=1, tuples=(TUPLE,), person=PERSON)
    published = parse_pidf(render_pidf(document), NOW)
    (found,) = published.tuples
    assert (found.capabilities, found.rich, found.timed) == (TUPLE.capabilities, TUPLE.rich, TUPLE.timed)
    assert published.person == PERSON


HEAD = (
    "<presence xmlns='urn:ietf:params:xml:ns:pidf' xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model'"
    " xmlns:r='urn:ietf:params:xml:ns:pidf:rpid' xmlns:c='urn:ietf:params:xml:ns:pidf:caps'"
    " xmlns:ts='urn:ietf:params:xml:ns:pidf:timed-status' entity='sip:bob@example.org'>"
)


def one(inner: str) -> PresenceTuple:
    body = f"{HEAD}<tuple id='a'><status><basic>open</basic></status>{inner}</tuple></presence>"
    (found,) = parse_pidf(body.encode(), NOW).tuples
    return found


def test_what_has_no_one_meaning_is_left_out() -> None:
    found = one(
        "<r:sphere><r:work/></r:sphere><r:relationship><r:other>x</r:other></r:relationship>"
        "<r:status-icon>javascript:alert(1)</r:status-icon><r:class></r:class>"
    )
    assert found.rich == ()


def test_capabilities_are_those_that_are_true() -> None:
    servcaps = "<c:servcaps><c:audio>true</c:audio><c:video>false</c:video></c:servcaps>"
    assert one(servcaps).capabilities == ("audio",)
    assert one("").capabilities is None


def test_a_time_needs_a_beginning() -> None:
    assert one("<ts:timed-status until='2030-01-01T00:00:00Z'/>").timed == ()


def test_activities_of_a_tuple_are_the_persons_where_there_is_no_person() -> None:
    body = f"{HEAD}<tuple id='a'><status/><r:activities><r:on-the-phone/></r:activities></tuple></presence>"
    assert parse_pidf(body.encode(), NOW).person == Person(activities=("on-the-phone",))


@pytest.mark.parametrize(
    ("parameters", "capabilities"),
    [
        ("", None),
        (';+sip.instance="<urn:uuid:1>";reg-id=1', None),
        (";audio;video", ("audio", "video")),
        (';audio;video="FALSE"', ("audio",)),
        (';methods="INVITE, MESSAGE"', ("message",)),
        (';methods="INVITE"', ()),
        (";text;isfocus;automata", ("automata", "isfocus", "text")),
    ],
)
def test_feature_tags_of_a_contact_are_its_capabilities(
    parameters: str, capabilities: tuple[str, ...] | None
) -> None:
    assert capabilities_of(parameters) == capabilities


def test_the_first_that_goes_from_a_packet_is_what_is_rich() -> None:
    document = PresenceDocument(address=ALICE, version=1, tuples=(TUPLE,), person=PERSON)
    first = next(smaller(document))
    assert (first.tuples[0].rich, first.tuples[0].capabilities, first.tuples[0].timed) == ((), None, ())


async def test_what_a_phone_registered_with_is_what_its_publication_can_do(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house, house.phone(BOB) as phone:
        await house.befriend(ALICE, BOB)
        await phone.register(contact=f'{phone.contact};audio;methods="MESSAGE,INVITE"')
        assert (await house.seen(BOB)).tuples[0].capabilities == ("audio", "message")
        body = f"{HEAD}<tuple id='a'><status><basic>open</basic></status><note>Hi</note></tuple></presence>"
        await phone.publish(body)
        async with house.phone(ALICE) as watcher:
            notify = await (await watcher.subscribe(str(BOB))).state("active")
            assert "<caps:audio>true</caps:audio><caps:message>true</caps:message>" in notify.text
            assert "Hi" in notify.text
