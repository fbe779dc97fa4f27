"""xmpp.presence: RFC 6121 §4.7 and RFC 8048, both ways."""

from __future__ import annotations

import pytest

from presence.address import Address
from presence.model import LastSeen, Person, PresenceDocument, PresenceTuple, Show, Text
from tests.xmpp.scene import Scene, bare
from xmpp.element import CLIENT_NS, LANG, E, Element
from xmpp.errors import StanzaError, read_error
from xmpp.presence import (
    OPAQUE,
    activity_show,
    read_presence,
    write_absence,
    write_gone,
    write_presence,
)

BOB = Address("bob", "example.org")
TO = b"alice@example.org"


def child(name: str, text: str = "", lang: str = "") -> Element:
    return E(name, CLIENT_NS, {LANG: lang} if lang else {}, text)


def read(*children: Element, **attrs: str) -> PresenceTuple:
    return read_presence(E("presence", CLIENT_NS, attrs, *children), "sofa", lang="en", now=7.0)


def test_presence_is_read_whole() -> None:
    caps = E("c", "http://jabber.org/protocol/caps", {"node": "x"})
    told = read(
        child("show", "away"),
        child("status", "tea"),
        child("status", "Tee", "de"),
        child("priority", "5"),
        caps,
    )
    assert told == PresenceTuple(
        id="sofa",
        show=Show.AWAY,
        notes=(Text("tea", "en"), Text("Tee", "de")),
        priority=5,
        since=7.0,
        opaque={OPAQUE: b"<c xmlns='http://jabber.org/protocol/caps' node='x'/>"},
    )


def test_empty_show_and_status_say_nothing() -> None:
    told = read(child("show"), child("status"))
    assert (told.show, told.notes, told.priority) == (None, (), 0)


@pytest.mark.parametrize(
    "children",
    [
        (child("show", "sleeping"),),
        (child("show", "away"), child("show", "dnd")),
        (child("priority", "128"),),
        (child("priority", "-129"),),
        (child("priority", "high"),),
        (child("priority", "٣"),),
        (child("priority", "9" * 400),),
    ],
)
def test_values_outside_the_norm_are_bad_requests(children: tuple[Element, ...]) -> None:
    with pytest.raises(StanzaError, match="bad-request"):
        read(*children)


@pytest.mark.parametrize(("text", "priority"), [("-128", -128), ("127", 127), ("+3", 3), (" 4 ", 4), ("", 0)])
def test_priority_is_a_signed_byte(text: str, priority: int) -> None:
    assert read(child("priority", text)).priority == priority


def test_unavailable_keeps_its_status_and_nothing_else() -> None:
    told = read(child("status", "off"), child("show", "away"), child("priority", "3"), type="unavailable")
    assert (told.open, told.show, told.priority, told.notes) == (False, None, None, (Text("off", "en"),))


def test_idle_time_is_read_for_phones_and_carried_for_clients() -> None:
    told = read(E("idle", "urn:xmpp:idle:1", {"since": "1970-01-01T00:01:00Z"}))
    assert told.idle_since == 60.0
    assert write_presence(BOB, told).to(TO).count(b"<idle ") == 1


def test_a_broken_idle_time_is_only_carried() -> None:
    assert read(E("idle", "urn:xmpp:idle:1", {"since": "yesterday"})).idle_since is None


def test_one_rendering_serves_all_watchers() -> None:
    rendered = write_presence(
        BOB, read(child("show", "dnd"), child("status", "a<b"), child("priority", "-1"))
    )
    assert rendered.to(TO) == (
        b"<presence from='bob@example.org/sofa' to='alice@example.org' xml:lang='en'><show>dnd</show>"
        b"<status>a&lt;b</status><priority>-1</priority></presence>"
    )
    assert b"to='carol@example.org'" in rendered.to(b"carol@example.org")


def document(
    *tuples: PresenceTuple, person: Person | None = None, last: LastSeen | None = None
) -> PresenceDocument:
    return PresenceDocument(address=BOB, version=1, tuples=tuples, person=person, last_seen=last)


@pytest.mark.parametrize(
    ("activities", "show"),
    [
        (("on-the-phone",), Show.DND),
        (("meeting",), Show.DND),
        (("meal",), Show.AWAY),
        (("holiday",), Show.XA),
        (("away", "on-the-phone"), Show.DND),
        (("unknown",), None),
        ((), None),
    ],
)
def test_activities_become_the_most_restrictive_show(activities: tuple[str, ...], show: Show | None) -> None:
    assert activity_show(activities) is show


def test_a_silent_phone_shows_what_its_person_does() -> None:
    phone = PresenceTuple(id="desk-phone")
    shown = write_presence(BOB, phone, document(phone, person=Person(activities=("on-the-phone",)))).to(TO)
    assert b"<show>dnd</show><status>On the phone</status>" in shown


def test_what_a_tuple_says_itself_wins_over_the_person() -> None:
    person = Person(activities=("on-the-phone",), notes=(Text("busy"),))
    for said in (
        PresenceTuple(id="p", show=Show.CHAT),
        PresenceTuple(id="p", notes=(Text("here"),)),
        PresenceTuple(id="p", opaque={OPAQUE: b""}),  # an XMPP resource without show is plainly available
    ):
        shown = write_presence(BOB, said, document(said, person=person)).to(TO)
        assert b"dnd" not in shown
        assert b"busy" not in shown


def test_an_idle_phone_is_away_since_then() -> None:
    phone = PresenceTuple(id="p")
    assert write_presence(BOB, phone, document(phone, person=Person(idle_since=60.0))).to(TO) == (
        b"<presence from='bob@example.org/p' to='alice@example.org'><show>away</show>"
        b"<idle xmlns='urn:xmpp:idle:1' since='1970-01-01T00:01:00.000Z'/></presence>"
    )


def test_the_last_word_goes_with_the_last_tuple() -> None:
    phone = PresenceTuple(id="p")
    last = LastSeen(60.0, (Text("bye", "en"),))
    assert b"<status>bye</status>" in write_gone(BOB, phone, document(last=last)).to(TO)
    assert b"bye" not in write_gone(BOB, phone, document(PresenceTuple(id="q"), last=last)).to(TO)


def test_nobody_there_says_since_when() -> None:
    assert write_absence(BOB, document(last=LastSeen(60.0, (Text("bye"),)))).to(TO) == (
        b"<presence from='bob@example.org' to='alice@example.org' type='unavailable'><status>bye</status>"
        b"<delay xmlns='urn:xmpp:delay' from='bob@example.org' stamp='1970-01-01T00:01:00.000Z'/></presence>"
    )


async def test_a_presence_is_small(xmpp: Scene) -> None:
    """Whoever sees it has a copy of it."""
    await xmpp.friends("alice", "bob")
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob")
    big = E("status", CLIENT_NS, {}, "x" * 17_000)
    for attrs in ({}, {"to": bob.jid}, {"to": bob.jid, "type": "unavailable"}):
        bob.heard()
        await alice.here(big, **attrs)
        assert read_error(alice.heard("presence")[-1]).condition == "policy-violation"
        assert bob.heard() == []
    await alice.here(big, type="unavailable")
    (gone,) = bob.heard("presence")
    assert (gone.get("type"), gone.elements) == ("unavailable", [])


async def test_subscriptions_are_not_changed_without_end(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice = await xmpp.online("alice")
    for number in range(520):
        await alice.session.receive(
            E("presence", CLIENT_NS, {"from": alice.jid, "to": bare(f"p{number % 3}"), "type": "unsubscribe"})
        )
    refused = [read_error(each).condition for each in alice.heard("presence") if each.get("type") == "error"]
    assert 0 < len(refused) <= 20
    assert set(refused) == {"resource-constraint"}
