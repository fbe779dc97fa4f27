"""Rules about what of one's presence is shown, as watching phones see it (RFC 5025 §3.3)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from presence.model import Person, PresenceTuple, Show, Source, Text
from presence.orders import Handling
from presence.ports import Lease, SourceWrite, Update
from presence.privacy import ALL, EVERY, Grant, Permissions, UserInput
from sip.addressing import to_uri
from sip.xcap.library import Library
from sip.xcap.server import Question, XcapServer
from tests.sip.house import ALICE, BOB, CAROL, House, open_house
from tests.support.pidf import read_pidf
from tests.support.sipclient import Watch

HER = "alice@example.org"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        await opened.befriend(ALICE, BOB)
        await opened.befriend(ALICE, CAROL)
        await opened.desk(ALICE, show=Show.DND, notes=(Text("with a client"),), priority=5, since=100.0)
        person = Source(
            id="xmpp:person",
            person=Person(activities=("meeting",), mood=("happy",), idle_since=50.0, notes=(Text("secret"),)),
        )
        write = SourceWrite(source=person, lease=Lease(owner="xmpp-1/i1"))
        await opened.other.publish(ALICE, Update(put_sources=(write,)))
        yield opened


async def show(house: House, permissions: Permissions, *names: str) -> None:
    allowed = tuple(f"{name}@example.org" for name in names or ("bob",))
    await house.other.privacy.give(ALICE, (Grant(Handling.ALLOW, permissions, allowed),))


async def text(watch: Watch) -> str:
    return (await watch.state("active")).text


SERVICES = Permissions(EVERY)


async def test_what_is_not_provided_is_not_in_the_document(house: House) -> None:
    await show(house, SERVICES)
    async with house.phone(BOB) as bob, house.phone(CAROL) as carol:
        less, all_ = await text(await bob.subscribe(HER)), await text(await carol.subscribe(HER))
    for word in ("with a client", "secret", "meeting", "happy", "dnd", "user-input", "person"):
        assert word not in less
        assert word in all_
    (seen,) = read_pidf(less.encode())
    assert (seen.open, seen.priority) == (True, "0.039")


async def test_each_attribute_has_its_permission(house: House) -> None:
    await show(house, Permissions(EVERY, EVERY, frozenset(("activities",)), UserInput.BARE))
    async with house.phone(BOB) as phone:
        told = await text(await phone.subscribe(HER))
    assert "<rpid:activities><rpid:meeting/></rpid:activities>" in told
    assert "<rpid:user-input>idle</rpid:user-input>" in told
    assert "dnd</show>" in told
    assert not {"note", "mood"} & set(told.replace("<", " ").replace(">", " ").replace(":", " ").split())


async def test_who_may_see_no_service_sees_nobody_and_no_last_words(house: House) -> None:
    await show(house, Permissions(persons=EVERY, attributes=frozenset((ALL,))))
    async with house.phone(BOB) as phone:
        told = await text(await phone.subscribe(HER))
    (seen,) = read_pidf(told.encode())
    assert (seen.open, seen.notes) == (False, ())
    assert "happy" in told
    assert "timestamp" not in told


async def test_a_lamp_does_not_tell_what_may_not_be_seen(house: House) -> None:
    await show(house, SERVICES)
    async with house.phone(BOB) as bob, house.phone(CAROL) as carol:
        less = await bob.subscribe(HER, event="dialog", Accept="application/dialog-info+xml")
        all_ = await carol.subscribe(HER, event="dialog", Accept="application/dialog-info+xml")
        assert "<state>terminated</state>" in await text(less)
        assert "<state>confirmed</state>" in await text(all_)


async def test_a_list_shows_each_as_they_want_it(house: House) -> None:
    await show(house, SERVICES)
    async with house.phone(BOB, "tcp") as phone:
        watch = await phone.subscribe(
            "buddies@example.org", Supported="eventlist", Accept="multipart/related, application/rlmi+xml"
        )
        told = await text(watch)
        assert "<basic>open</basic>" in told
        assert "with a client" not in told


async def test_a_fetch_shows_no_more(house: House) -> None:
    await show(house, SERVICES)
    async with house.phone(BOB) as phone:
        watch = await phone.subscribe(HER, expires=0)
        told = (await watch.state("terminated")).text
        assert "<basic>open</basic>" in told
        assert "with a client" not in told


async def test_what_changes_out_of_sight_is_not_told(house: House) -> None:
    await show(house, SERVICES)
    async with house.phone(BOB) as phone:
        watch = await phone.subscribe(HER)
        await watch.state("active")
        await house.desk(ALICE, show=Show.AWAY, notes=(Text("alone now"),), priority=5, since=100.0)
        await house.desk(ALICE, priority=6, since=100.0)
        assert [seen.priority for seen in read_pidf((await text(watch)).encode())] == ["0.047"]
        assert len(watch.notifies.history) == 2


async def test_her_own_phone_shows_her_all(house: House) -> None:
    await show(house, SERVICES, "alice", "bob")
    async with house.phone(ALICE) as phone:
        assert "with a client" in await text(await phone.subscribe(HER))


async def test_a_phone_changes_the_rules_and_watchers_see_it_at_once(house: House) -> None:
    library = Library(house.other, house.accounts, ("example.org",), "http://x", "buddies", time.time)
    server = XcapServer(library)

    async def put(transformations: str) -> None:
        rules = (
            '<ruleset xmlns="urn:ietf:params:xml:ns:common-policy"'
            ' xmlns:pr="urn:ietf:params:xml:ns:pres-rules"><rule id="a"><conditions><identity>'
            f'<one id="sip:{BOB}"/></identity></conditions><actions><pr:sub-handling>allow</pr:sub-handling>'
            f"</actions><transformations>{transformations}</transformations></rule></ruleset>"
        )
        question = Question(
            method="PUT",
            path=f"/pres-rules/users/{to_uri(ALICE)}/index",
            body=rules.encode(),
            content_type="application/auth-policy+xml",
            query="",
            if_match=None,
            if_none_match=None,
        )
        assert (await server.answer(ALICE, question)).status in (200, 201)

    services = "<pr:provide-services><pr:all-services/></pr:provide-services>"
    async with house.phone(BOB) as phone:
        watch = await phone.subscribe(HER)
        assert "with a client" in await text(watch)
        await put(services)
        less = await text(watch)
        assert "<basic>open</basic>" in less
        assert "with a client" not in less
        await put(f"{services}<pr:provide-note>true</pr:provide-note>")
        assert "with a client" in await text(watch)
        await put("")
        assert not any(seen.open for seen in read_pidf((await text(watch)).encode()))


async def test_a_tuple_is_named_as_it_is_written(house: House) -> None:
    source = Source(id="xmpp:other", tuples=(PresenceTuple(id="my mobile"),))
    write = SourceWrite(source=source, lease=Lease(owner="xmpp-1/i1"))
    await house.other.publish(ALICE, Update(put_sources=(write,)))
    await show(house, Permissions(frozenset((("id", "my mobile"),))))
    async with house.phone(BOB) as phone:
        (seen,) = read_pidf((await text(await phone.subscribe(HER))).encode())
        assert seen.id == "ID-my_x20_mobile"
