"""XEP-0045: entering, talking, leaving, across processes."""

from __future__ import annotations

import asyncio

import pytest

from presence.rooms.ports import Write
from tests.xmpp.rooms_scene import (
    ROOMS,
    TEA,
    Presence,
    administer,
    condition,
    configure,
    item,
    join,
    joining,
    opened,
    presence,
    say,
    summary,
    three,
)
from tests.xmpp.scene import Scene, bare
from xmpp.element import CLIENT_NS, E
from xmpp.extensions.xep_0280_carbons import NS as CARBONS_NS
from xmpp.message import SID_NS
from xmpp.presence import DELAY_NS
from xmpp.rooms.desk import RoomDesk
from xmpp.rooms.names import MUC_NS, OCCUPANT_NS, OWNER_NS, USER_NS


async def test_whoever_enters_a_room_that_is_not_there_makes_it_and_owns_it(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice = await xmpp.online("alice")
    heard = await join(alice, "ali")
    assert [summary(each) for each in heard] == ["presence ali", "subject"]
    assert presence(heard[0]) == Presence("ali", "", "owner", "moderator", alice.jid, (110, 170, 201))


async def test_nobody_else_enters_before_the_room_is_configured(xmpp: Scene) -> None:
    await xmpp.people("alice", "bob")
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob", node="xmpp-2")
    await join(alice, "ali")
    (refused,) = await join(bob, "bob")
    assert condition(refused) == "item-not-found"
    instant = E("query", OWNER_NS, {}, E("x", "jabber:x:data", {"type": "submit"}))
    assert (await alice.ask("set", instant, TEA)).get("type") == "result"
    assert summary((await join(bob, "bob"))[0]) == "presence ali"


async def test_whoever_cancels_the_configuration_has_no_room(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice = await xmpp.online("alice")
    await join(alice, "ali")
    cancel = E("query", OWNER_NS, {}, E("x", "jabber:x:data", {"type": "cancel"}))
    assert (await alice.ask("set", cancel, TEA)).get("type") == "result"
    (gone,) = alice.heard("presence")
    assert gone.get("type") == "unavailable"
    heard = await join(alice, "ali")
    assert 201 in presence(heard[0]).statuses


async def test_the_order_of_entering_is_others_oneself_history_subject(xmpp: Scene) -> None:
    alice, bob, carol = await three(xmpp)
    await say(alice, "one")
    await say(bob, "two")
    await alice.say(
        E("message", CLIENT_NS, {"type": "groupchat", "to": TEA}, E("subject", CLIENT_NS, {}, "Tea"))
    )
    heard = await join(carol, "caz")
    assert [summary(each) for each in heard] == [
        "presence ali",
        "presence bob",
        "presence caz",
        "message-groupchat ali one",
        "message-groupchat bob two",
        "subject ali Tea",
    ]
    assert 110 in presence(heard[2]).statuses
    assert all(each.find("delay", DELAY_NS) is not None for each in heard[3:])
    assert [summary(each) for each in bob.heard()][-1] == "presence caz"


async def test_what_is_said_reaches_everybody_in_one_order_with_the_rooms_ids(xmpp: Scene) -> None:
    alice, bob, carol = await three(xmpp)
    await join(carol, "caz")
    for client in (alice, bob, carol):
        client.heard()
    await say(alice, "one", id="a1")
    await say(bob, "two", E("occupant-id", OCCUPANT_NS, {"id": "forged"}), id="b1")
    said = [client.heard() for client in (alice, bob, carol)]
    for heard in said:
        assert [summary(each) for each in heard] == ["message-groupchat ali one", "message-groupchat bob two"]
    ids = [[each.find("stanza-id", SID_NS) for each in heard] for heard in said]
    assert ids[0] == ids[1] == ids[2]
    assert all(id is not None and id.get("by") == TEA for id in ids[0])
    one = said[2][0]
    assert (one.get("id"), one.get("to"), one.get("type")) == ("a1", carol.jid, "groupchat")
    (occupant,) = said[2][1].findall("occupant-id", OCCUPANT_NS)
    assert occupant.get("id") != "forged"


async def test_only_moderators_see_who_is_who_unless_the_room_is_open(xmpp: Scene) -> None:
    alice, bob, carol = await three(xmpp)
    heard = await join(carol, "caz")
    assert [presence(each).jid for each in heard if each.name == "presence"] == ["", "", carol.jid]
    (seen,) = alice.heard("presence")
    assert presence(seen).jid == carol.jid
    await configure(alice, whois="anyone")
    (told,) = [each for each in carol.heard("message") if each.find("x", USER_NS) is not None]
    user = told.find("x", USER_NS)
    assert user is not None
    assert [each.get("code") for each in user.findall("status")] == ["172"]
    await carol.here(type="unavailable", to=f"{TEA}/caz")
    carol.heard()
    heard = await join(carol, "caz")
    assert [presence(each).jid for each in heard if each.name == "presence"] == [
        alice.jid,
        bob.jid,
        carol.jid,
    ]
    assert 100 in presence(heard[2]).statuses


async def test_whoever_leaves_is_seen_to_leave_with_their_last_words(xmpp: Scene) -> None:
    alice, bob, _ = await three(xmpp)
    await bob.here(E("status", CLIENT_NS, {}, "bye"), type="unavailable", to=f"{TEA}/bob")
    (own,) = bob.heard()
    assert presence(own) == Presence("bob", "unavailable", "none", "none", bob.jid, (110,))
    (seen,) = alice.heard()
    assert presence(seen).statuses == ()
    status = seen.find("status")
    assert status is not None
    assert status.text == "bye"


async def test_a_client_that_is_lost_leaves_its_rooms(xmpp: Scene) -> None:
    alice, bob, _ = await three(xmpp)
    await bob.gone()
    (seen,) = alice.heard()
    assert (seen.get("type"), summary(seen)) == ("unavailable", "presence-unavailable bob")


async def test_a_client_that_becomes_unavailable_leaves_its_rooms(xmpp: Scene) -> None:
    alice, bob, _ = await three(xmpp)
    await bob.here(type="unavailable")
    assert "presence-unavailable bob" in [summary(each) for each in alice.heard()]


async def test_a_temporary_room_goes_with_its_last_occupant(xmpp: Scene) -> None:
    alice, bob, _ = await three(xmpp)
    await alice.here(type="unavailable", to=f"{TEA}/ali")
    await bob.here(type="unavailable", to=f"{TEA}/bob")
    bob.heard()
    heard = await join(bob, "bob")
    assert presence(heard[0]).affiliation == "owner"
    assert 201 in presence(heard[0]).statuses


async def test_a_persistent_room_stays_with_its_owner_and_its_history(xmpp: Scene) -> None:
    alice, bob, _ = await three(xmpp)
    await configure(alice, persistentroom="1", roomname="Tea time")
    await say(bob, "still here")
    await alice.here(type="unavailable", to=f"{TEA}/ali")
    await bob.here(type="unavailable", to=f"{TEA}/bob")
    bob.heard()
    heard = await join(bob, "bob")
    assert [summary(each) for each in heard] == [
        "presence bob",
        "message-groupchat bob still here",
        "subject",
    ]
    assert presence(heard[0]).affiliation == "none"


async def test_a_nickname_in_use_is_refused_and_ones_own_is_shared(xmpp: Scene) -> None:
    alice, bob, carol = await three(xmpp)
    (refused,) = await join(carol, "bob")
    assert condition(refused) == "conflict"
    phone = await xmpp.online("bob", "phone")
    heard = await join(phone, "bob")
    assert [summary(each) for each in heard] == ["presence ali", "presence bob", "subject"]
    assert alice.heard() == []
    bob.heard()
    await say(alice, "to both")
    assert [summary(each) for each in bob.heard()] == ["message-groupchat ali to both"]
    assert [summary(each) for each in phone.heard()] == ["message-groupchat ali to both"]
    await phone.here(type="unavailable", to=f"{TEA}/bob")
    assert [presence(each).statuses for each in phone.heard()] == [(110,)]
    assert [summary(each) for each in alice.heard()] == ["message-groupchat ali to both"]


async def test_another_nickname_is_shown_as_one_step(xmpp: Scene) -> None:
    alice, bob, carol = await three(xmpp)
    await join(carol, "caz")
    for client in (alice, bob, carol):
        client.heard()
    await bob.here(to=f"{TEA}/robert")
    old, new = [presence(each) for each in carol.heard()]
    assert (old.nick, old.type, old.new_nick, old.statuses) == ("bob", "unavailable", "robert", (303,))
    assert (new.nick, new.type, new.statuses) == ("robert", "", ())
    old, new = [presence(each) for each in bob.heard()]
    assert (old.statuses, new.statuses) == ((110, 303), (110,))
    await bob.here(to=f"{TEA}/ali")
    (refused,) = bob.heard()
    assert condition(refused) == "conflict"


async def test_another_status_is_shown_to_all(xmpp: Scene) -> None:
    alice, bob, _ = await three(xmpp)
    await bob.here(E("show", CLIENT_NS, {}, "away"), to=f"{TEA}/bob")
    (seen,) = alice.heard()
    show = seen.find("show")
    assert show is not None
    assert (presence(seen).nick, show.text) == ("bob", "away")
    (own,) = bob.heard()
    assert presence(own).statuses == (110,)


async def test_a_client_that_lost_track_of_the_room_is_told_so(xmpp: Scene) -> None:
    _, _, carol = await three(xmpp)
    await carol.here(to=f"{TEA}/caz")
    (kicked,) = carol.heard()
    assert presence(kicked) == Presence("caz", "unavailable", "none", "none", "", (110, 307, 333))
    await say(carol, "hello?")
    (refused,) = carol.heard()
    assert condition(refused) == "not-acceptable"


async def test_private_messages_reach_one_occupant(xmpp: Scene) -> None:
    alice, bob, carol = await three(xmpp)
    await join(carol, "caz")
    for client in (alice, bob, carol):
        client.heard()
    await bob.message(f"{TEA}/caz", "psst", id="p1")
    (heard,) = carol.heard()
    assert (heard.get("from"), heard.get("type"), heard.get("id")) == (f"{TEA}/bob", "chat", "p1")
    assert heard.find("x", USER_NS) is not None
    assert heard.find("stanza-id", SID_NS) is None
    assert alice.heard() == []
    await bob.message(f"{TEA}/nobody", "psst")
    (refused,) = bob.heard()
    assert condition(refused) == "item-not-found"
    await configure(alice, allowpm="moderators")
    bob.heard()
    await bob.message(f"{TEA}/caz", "psst")
    (refused,) = bob.heard()
    assert condition(refused) == "forbidden"
    await bob.message(f"{TEA}/ali", "may I?")
    assert "message-chat bob may I?" in [summary(each) for each in alice.heard()]


async def test_what_is_whispered_the_same_occupants_other_clients_hear(xmpp: Scene) -> None:
    """XEP-0280 §6.1: those that are in the room under the same nickname."""
    _, bob, carol = await three(xmpp)
    await join(carol, "caz")
    sofa, elsewhere = await xmpp.online("bob", "sofa"), await xmpp.online("bob", "elsewhere")
    for client in (sofa, elsewhere):
        await client.ask("set", E("enable", CARBONS_NS))
    await join(sofa, "bob")
    elsewhere.heard()
    await bob.message(f"{TEA}/caz", "psst", id="p1")
    (carbon,) = sofa.heard("message")
    sent = carbon.find("sent", CARBONS_NS)
    assert sent is not None
    inner = sent.elements[0].elements[0]
    assert (inner.get("from"), inner.get("to"), inner.get("id")) == (bob.jid, f"{TEA}/caz", "p1")
    assert (carbon.get("from"), elsewhere.heard("message"), bob.heard("message")) == (bare("bob"), [], [])
    await bob.message(f"{TEA}/caz", "psst", type="no'<type")
    assert [carbon.get("type") for carbon in sofa.heard("message")] == ["no'<type"]
    await bob.message(f"{TEA}/caz", "psst", E("private", CARBONS_NS))
    await say(bob, "to all")
    assert [m.find("sent", CARBONS_NS) for m in sofa.heard("message")] == [None]


async def test_as_much_history_as_was_asked_for(xmpp: Scene) -> None:
    alice, _, carol = await three(xmpp)
    for number in range(5):
        await say(alice, f"number {number}")
        await xmpp.wait(10)

    async def recalled(**wish: str) -> list[str]:
        heard = await join(carol, "caz", E("history", MUC_NS, wish))
        await carol.here(type="unavailable", to=f"{TEA}/caz")
        carol.heard()
        return [summary(each)[-1] for each in heard if each.find("body") is not None]

    assert await recalled() == ["0", "1", "2", "3", "4"]
    assert await recalled(maxstanzas="2") == ["3", "4"]
    assert await recalled(maxstanzas="0") == []
    assert await recalled(maxchars="0") == []
    assert await recalled(maxchars="900") == ["3", "4"]
    assert await recalled(seconds="25") == ["3", "4"]
    assert await recalled(since="2100-01-01T00:00:00Z") == []
    await configure(alice, history="1")
    assert await recalled() == ["4"]


async def test_chat_states_are_passed_on_and_not_shown_to_who_comes_later(xmpp: Scene) -> None:
    alice, bob, carol = await three(xmpp)
    await say(bob, "", E("composing", "http://jabber.org/protocol/chatstates"))
    (heard,) = alice.heard()
    assert heard.find("composing", "http://jabber.org/protocol/chatstates") is not None
    assert heard.find("stanza-id", SID_NS) is None
    assert [summary(each) for each in await join(carol, "caz")][-1] == "subject"
    assert not [each for each in carol.heard() if each.name == "message"]


async def test_who_speaks_too_fast_is_told_to_wait(xmpp: Scene) -> None:
    alice, bob, _ = await three(xmpp)
    for number in range(60):
        await say(bob, str(number))
    answers = bob.heard()
    refused = [each for each in answers if each.get("type") == "error"]
    assert condition(refused[0]) == "policy-violation"
    assert len(answers) - len(refused) == len(alice.heard())


async def test_rooms_of_one_person_and_of_one_client_are_bounded(xmpp: Scene) -> None:
    xmpp.room_settings = xmpp.room_settings.model_copy(update={"per_account": 2, "joined": 3})
    await xmpp.people("alice", "bob")
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob")
    await opened(alice, "ali", f"one@{ROOMS}")
    await opened(alice, "ali", f"two@{ROOMS}")
    (refused,) = await join(alice, "ali", room=f"three@{ROOMS}")
    assert condition(refused) == "resource-constraint"
    await opened(bob, "bob", f"three@{ROOMS}")
    await opened(bob, "bob", f"four@{ROOMS}")
    await join(bob, "bob", room=f"one@{ROOMS}")
    (refused,) = await join(bob, "bob", room=f"two@{ROOMS}")
    assert condition(refused) == "resource-constraint"


async def test_where_nobody_makes_rooms_entering_one_that_is_not_there_fails(xmpp: Scene) -> None:
    xmpp.room_settings = xmpp.room_settings.model_copy(update={"create": "nobody"})
    await xmpp.people("alice")
    alice = await xmpp.online("alice")
    (refused,) = await join(alice, "ali")
    assert condition(refused) == "not-allowed"


async def test_a_nickname_is_needed(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice = await xmpp.online("alice")
    await alice.here(joining(), to=TEA)
    (refused,) = alice.heard()
    assert condition(refused) == "jid-malformed"


async def test_too_much_at_once_is_refused(xmpp: Scene) -> None:
    alice, bob, _ = await three(xmpp)
    await say(bob, "x" * 70_000)
    await bob.say(
        E("message", CLIENT_NS, {"type": "groupchat", "to": TEA}, E("subject", CLIENT_NS, {}, "x" * 5000))
    )
    await bob.here(E("big", "urn:big", {}, "x" * 20_000), to=f"{TEA}/bob")
    assert [condition(each) for each in bob.heard()] == ["policy-violation"] * 3
    assert alice.heard() == []


async def test_reactions_have_an_id_and_are_shown_to_who_comes_later(xmpp: Scene) -> None:
    alice, bob, carol = await three(xmpp)
    await say(alice, "tea?")
    reaction = E(
        "reactions", "urn:xmpp:reactions:0", {"id": "1"}, E("reaction", "urn:xmpp:reactions:0", {}, "👍")
    )
    await say(bob, "", reaction)
    assert alice.heard()[-1].find("stanza-id", SID_NS) is not None
    heard = [each for each in await join(carol, "caz") if each.name == "message"]
    assert heard[1].find("reactions", "urn:xmpp:reactions:0") == reaction


async def test_a_bus_that_forgot_the_room_is_told_who_is_there(xmpp: Scene) -> None:
    alice, bob, carol = await three(xmpp)
    xmpp.rooms._rooms.clear()
    for router in xmpp.nodes.values():
        await router.restate()
    await xmpp.settle()
    for client in (alice, bob):
        client.heard()
    heard = await join(carol, "caz")
    shown = [summary(each) for each in heard]
    assert (set(shown[:2]), shown[2:]) == ({"presence ali", "presence bob"}, ["presence caz", "subject"])
    await say(bob, "still here")
    assert [summary(each) for each in alice.heard()][-1] == "message-groupchat bob still here"


async def test_a_client_that_left_takes_nothing_along(xmpp: Scene) -> None:
    alice, bob, _ = await three(xmpp)
    router = bob.session.router
    desk = router.hosted[ROOMS]
    assert isinstance(desk, RoomDesk)
    await bob.gone()
    assert (desk._seats, desk._paces, desk._showing._rooms, desk._showing._albums) == ({}, {}, {}, {})
    assert router.service.rooms is not None
    assert router.service.rooms._copies == {}
    assert alice.heard()


async def test_nobody_hears_whom_they_block(xmpp: Scene) -> None:
    alice, bob, carol = await three(xmpp)
    await join(carol, "caz")
    block = E("block", "urn:xmpp:blocking", {}, E("item", "urn:xmpp:blocking", {"jid": f"{TEA}/bob"}))
    await carol.ask("set", block)
    for client in (alice, carol):
        client.heard()
    await say(bob, "hello all")
    await bob.message(f"{TEA}/caz", "hello you")
    await say(alice, "hello")
    assert [summary(each) for each in carol.heard("message")] == ["message-groupchat ali hello"]
    assert len(alice.heard("message")) == 2
    await bob.here(E("show", CLIENT_NS, {}, "away"), to=f"{TEA}/bob")
    assert [summary(each) for each in carol.heard()] == ["presence bob"]
    await carol.here(type="unavailable", to=f"{TEA}/caz")
    carol.heard()
    heard = [summary(each) for each in await join(carol, "caz") if each.name == "message"]
    assert heard == ["message-groupchat ali hello", "subject"]


async def test_a_message_is_acknowledged_when_the_bus_has_it(xmpp: Scene) -> None:
    alice, bob, _ = await three(xmpp)
    handled = bob.session.progress.handled
    at_once = xmpp.rooms.write
    arrived, answered = asyncio.Event(), asyncio.Event()

    async def slow(write: Write) -> bool:
        arrived.set()
        await answered.wait()
        return await at_once(write)

    xmpp.rooms.write = slow  # type: ignore[method-assign]
    message = E("message", CLIENT_NS, {"type": "groupchat", "to": TEA, "from": bob.jid})
    await bob.session.receive(message.append(E("body", CLIENT_NS, {}, "hello")))
    await arrived.wait()
    assert bob.session.progress.handled == handled
    answered.set()
    await xmpp.settle()
    assert bob.session.progress.handled == handled + 1
    assert [summary(each) for each in alice.heard()] == ["message-groupchat bob hello"]


async def test_whoever_enters_sees_everybody_as_they_are_now(xmpp: Scene) -> None:
    alice, bob, carol = await three(xmpp)

    async def seen() -> list[Presence]:
        heard = await join(carol, "caz")
        await carol.here(type="unavailable", to=f"{TEA}/caz")
        carol.heard()
        shown = [presence(each) for each in heard if each.name == "presence"]
        return sorted(
            (each for each in shown if each.nick not in ("caz", "dave")), key=lambda each: each.nick
        )

    await xmpp.people("dave")
    await join(await xmpp.online("dave", node="xmpp-3"), "dave")  # stays there
    before = await seen()
    assert await seen() == before
    await administer(alice, item(jid=bare("bob"), affiliation="member"))
    assert [each.affiliation for each in await seen()] == ["owner", "member"]
    await configure(alice, whois="anyone")
    assert [each.jid for each in await seen()] == [alice.jid, bob.jid]
    await bob.here(to=f"{TEA}/robert")
    assert [each.nick for each in await seen()] == ["ali", "robert"]


@pytest.mark.parametrize("by", [TEA, "TEA@Rooms.Example.ORG", f"{TEA}/bob", "\ufeff"])
async def test_nobody_else_gives_ids_in_the_rooms_name(xmpp: Scene, by: str) -> None:
    """However they spell it (XEP-0359 §3)."""
    alice, bob, _ = await three(xmpp)
    await say(bob, "hello", E("stanza-id", SID_NS, {"by": by, "id": "forged"}))
    await bob.message(f"{TEA}/ali", "you", E("stanza-id", SID_NS, {"by": by, "id": "forged"}))
    for heard in alice.heard():
        assert "forged" not in [each.get("id") for each in heard.findall("stanza-id", SID_NS)]


async def test_last_words_are_short_or_none(xmpp: Scene) -> None:
    alice, bob, _ = await three(xmpp)
    big = E("big", "urn:big", {}, "x" * 5000)
    await bob.here(E("status", CLIENT_NS, {}, "x" * 5000), big, to=f"{TEA}/bob", type="unavailable")
    (left,) = alice.heard()
    assert (summary(left), left.find("status"), left.find("big", "urn:big")) == (
        "presence-unavailable bob",
        None,
        None,
    )


async def test_everything_in_a_message_counts(xmpp: Scene) -> None:
    alice, bob, _ = await three(xmpp)
    await say(bob, "hello", E("thread", CLIENT_NS, {}, "x" * 70_000))
    subject = E("subject", CLIENT_NS, {}, "tea"), E("big", "urn:big", {}, "x" * 10_000)
    await bob.say(E("message", CLIENT_NS, {"type": "groupchat", "to": TEA}, *subject))
    assert [condition(each) for each in bob.heard()] == ["policy-violation"] * 2
    assert alice.heard() == []


async def test_large_messages_count_as_several(xmpp: Scene) -> None:
    _, bob, _ = await three(xmpp)
    for _ in range(20):
        await say(bob, "x" * 60_000)
    answers = [each.get("type") for each in bob.heard()]
    assert 9 <= answers.count("groupchat") <= 11
    assert answers[-1] == "error"


async def test_each_room_has_a_pace_of_its_own(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice = await xmpp.online("alice")
    for number in range(60):
        assert "error" not in [
            each.get("type") for each in await join(alice, "ali", room=f"r{number}@{ROOMS}")
        ]


async def test_a_crowd_with_much_to_say_of_itself_shuts_nobody_out(xmpp: Scene) -> None:
    """What whoever enters is sent at once stays well below what may wait for a client."""
    most = 262_144
    await xmpp.node("xmpp-1", max_outbound=most)
    people = [f"p{number}" for number in range(12)]
    await xmpp.people("alice", "bob", *people)
    alice = await xmpp.online("alice")
    await opened(alice, "ali")
    status = E("status", CLIENT_NS, {}, "&" * 3000)
    for name in people:
        for number in range(4):
            there = await xmpp.connect(name, f"r{number}")
            show = E("show", CLIENT_NS, {}, "dnd")
            await there.here(joining(), status, show, to=f"{TEA}/{name}-{number}")
    bob = await xmpp.online("bob")
    await bob.here(joining(), to=f"{TEA}/bob")
    assert sum(map(len, bob.raw)) <= most // 4 + 2_000
    assert bob.charged > most // 2
    heard = bob.heard()
    nicks = [presence(each).nick for each in heard if each.name == "presence"]
    assert len(nicks) == 50
    brief = [each for each in heard if each.name == "presence" and each.find("status") is None]
    assert len(brief) > 40
    assert [each.text for each in brief[1].elements if each.name == "show"] == ["dnd"]
