"""slixmpp's own xep_0045 in our rooms: made, configured, chatted in, administered, destroyed."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from slixmpp.exceptions import IqError

from tests.support.stage import Stage
from tests.support.tandem import DOMAIN
from tests.support.waiting import until
from tests.support.xmppclient import Client

pytestmark = pytest.mark.interop

PLUGINS = ("xep_0030", "xep_0045", "xep_0199", "xep_0249", "xep_0313", "xep_0359")
_numbers = itertools.count(1)


def new_room() -> str:
    return f"room-{next(_numbers)}@rooms.{DOMAIN}"


def rooms(client: Client) -> Any:
    return client.xmpp.plugin["xep_0045"]


async def enter(client: Client, room: str, nick: str, **more: Any) -> Any:
    return await rooms(client).join_muc_wait(room, nick, timeout=20, **more)


async def configure(client: Client, room: str, **chosen: Any) -> None:
    form = await rooms(client).get_room_config(room)
    form["type"] = "submit"
    for name, value in chosen.items():
        form.get_fields()[f"muc#roomconfig_{name}"]["value"] = value
    await rooms(client).set_room_config(room, form)


async def hears(client: Client, room: str, nick: str, text: str) -> Any:
    return await client.messages.take(
        f"{nick}: {text}", lambda m: m["body"] == text and m["from"].full == f"{room}/{nick}"
    )


async def test_a_room_is_made_configured_and_chatted_in(stage: Stage) -> None:
    alice, bob = await stage.person("alice"), await stage.person("bob")
    room = new_room()
    async with stage.client(alice, plugins=PLUGINS) as hers, stage.client(bob, plugins=PLUGINS) as his:
        joined = await enter(hers, room, "ali")
        assert 201 in joined[0]["muc"]["status_codes"]
        await configure(hers, room, roomname="Tea", persistentroom=True)
        _, subject, occupants, history = await enter(his, room, "bob")
        assert [each["muc"]["nick"] for each in occupants] == ["ali", "bob"]
        assert (len(history), subject["subject"]) == (0, None)
        his.say(room, "hello room", kind="groupchat")
        heard = await hears(hers, room, "bob", "hello room")
        assert str(heard["stanza_id"]["by"]) == room
        await hears(his, room, "bob", "hello room")
        rooms(hers).set_subject(room, "Assam")
        await his.messages.take("the subject", lambda m: m["subject"] == "Assam")
        info = await his.xmpp.plugin["xep_0030"].get_info(jid=room)
        assert "muc_persistent" in info["disco_info"]["features"]
        items = await his.xmpp.plugin["xep_0030"].get_items(jid=f"rooms.{DOMAIN}")
        assert (room, None, "Tea") in items["disco_items"]["items"]


async def test_whoever_comes_later_reads_what_was_said(stage: Stage) -> None:
    alice, bob = await stage.person("alice"), await stage.person("bob")
    room = new_room()
    async with stage.client(alice, plugins=PLUGINS) as hers, stage.client(bob, plugins=PLUGINS) as his:
        await enter(hers, room, "ali")
        await configure(hers, room)
        for number in range(3):
            hers.say(room, f"line {number}", kind="groupchat")
        await hears(hers, room, "ali", "line 2")
        _, _, _, history = await enter(his, room, "bob", maxstanzas=2)
        assert [each["body"] for each in history] == ["line 1", "line 2"]


async def test_an_owner_gives_and_takes_roles_and_affiliations(stage: Stage) -> None:
    alice, bob = await stage.person("alice"), await stage.person("bob")
    room = new_room()
    async with stage.client(alice, plugins=PLUGINS) as hers, stage.client(bob, plugins=PLUGINS) as his:
        await enter(hers, room, "ali")
        await configure(hers, room, moderatedroom=True)
        await enter(his, room, "bob")
        assert rooms(hers).get_jid_property(room, "bob", "role") == "visitor"
        await rooms(hers).set_role(room, "bob", "participant")
        await his.presences.take("a voice", lambda p: p["muc"]["role"] == "participant")
        await rooms(hers).set_affiliation(room, "admin", jid=bob.address)
        await his.presences.take("promotion", lambda p: p["muc"]["affiliation"] == "admin")
        assert await rooms(hers).get_affiliation_list(room, "admin") == [bob.address]
        assert sorted(await rooms(hers).get_roles_list(room, "moderator")) == ["ali", "bob"]
        await rooms(hers).set_affiliation(room, "outcast", jid=bob.address, reason="enough")
        gone = await his.presences.take("the ban", lambda p: p["type"] == "unavailable")
        assert 301 in gone["muc"]["status_codes"]
        await rooms(hers).destroy(room, reason="over")
        await hers.presences.take("the end", lambda p: p["type"] == "unavailable")


async def test_an_owner_lets_moderators_alone_be_seen(stage: Stage) -> None:
    alice, bob = await stage.person("alice"), await stage.person("bob")
    room = new_room()
    async with stage.client(alice, plugins=PLUGINS) as hers, stage.client(bob, plugins=PLUGINS) as his:
        await enter(hers, room, "ali")
        await configure(hers, room, presencebroadcast=["moderator"])
        _, _, occupants, _ = await enter(his, room, "bob")
        assert [each["muc"]["nick"] for each in occupants] == ["ali", "bob"]
        his.say(room, "unseen", kind="groupchat")
        await hears(hers, room, "bob", "unseen")
        assert rooms(hers).get_roster(room) == ["ali"]
        await configure(hers, room, presencebroadcast=["moderator", "participant"])
        await hers.presences.take("him", lambda p: p["from"].full == f"{room}/bob")
        assert sorted(rooms(hers).get_roster(room)) == ["ali", "bob"]


async def test_invitations_reach_people_outside(stage: Stage) -> None:
    alice, bob = await stage.person("alice"), await stage.person("bob")
    room = new_room()
    async with stage.client(alice, plugins=PLUGINS) as hers, stage.client(bob, plugins=PLUGINS) as his:
        await enter(hers, room, "ali")
        await configure(hers, room, membersonly=True)
        rooms(hers).invite(room, bob.address, reason="tea?")
        invitation = await his.messages.take("the invitation", lambda m: m["from"].bare == room)
        assert invitation["muc"]["invite"]["reason"] == "tea?"
        await enter(his, room, "bob")
        assert await his.xmpp.plugin["xep_0199"].ping(f"{room}/bob") < 20
        assert await his.xmpp.plugin["xep_0199"].ping(f"{room}/ali") < 20
        hers.xmpp.plugin["xep_0249"].send_invitation(bob.address, room, reason="again")
        direct = await his.messages.take("a direct one", lambda m: m["groupchat_invite"]["jid"])
        assert direct["groupchat_invite"]["jid"] == room


MORE = (*PLUGINS, "xep_0410", "xep_0421", "xep_0424", "xep_0425", "xep_0444")


async def archived(client: Client, room: str) -> list[Any]:
    """The room's archive, as slixmpp pages through it."""
    found = client.xmpp.plugin["xep_0313"].iterate(jid=room, rsm={"max": 2}, total=20)
    return [each["mam_result"]["forwarded"]["stanza"] async for each in found]


async def test_the_archive_of_a_room_is_read_page_by_page(stage: Stage) -> None:
    alice, bob = await stage.person("alice"), await stage.person("bob")
    room = new_room()
    async with stage.client(alice, plugins=MORE) as hers, stage.client(bob, plugins=MORE) as his:
        await enter(hers, room, "ali")
        await configure(hers, room)
        for number in range(5):
            hers.say(room, f"line {number}", kind="groupchat")
        await hears(hers, room, "ali", "line 4")
        await enter(his, room, "bob", maxstanzas=0)
        found = await archived(his, room)
        assert [each["body"] for each in found] == [f"line {number}" for number in range(5)]
        assert {each["from"].full for each in found} == {f"{room}/ali"}
        assert all(each["occupant-id"]["id"] for each in found)


async def test_a_moderator_retracts_a_message(stage: Stage) -> None:
    alice, bob = await stage.person("alice"), await stage.person("bob")
    room = new_room()
    async with stage.client(alice, plugins=MORE) as hers, stage.client(bob, plugins=MORE) as his:
        await enter(hers, room, "ali")
        await configure(hers, room)
        await enter(his, room, "bob")
        his.say(room, "buy this", kind="groupchat")
        heard = await hears(hers, room, "bob", "buy this")
        id = heard["stanza_id"]["id"]
        await hers.xmpp.plugin["xep_0425"].moderate(heard["from"], id, "spam")
        told = await his.messages.take("the retraction", lambda m: m["retract"]["id"] == id)
        assert str(told["retract"]["moderated"]["by"]) == f"{room}/ali"

        async def struck() -> bool:
            return "buy this" not in [each["body"] for each in await archived(his, room)]

        await until("the archive has a tombstone", struck, 30)


async def test_a_client_finds_out_that_it_is_not_in_the_room_any_more(stage: Stage) -> None:
    alice, bob = await stage.person("alice"), await stage.person("bob")
    room = new_room()
    async with stage.client(alice, plugins=MORE) as hers, stage.client(bob, plugins=MORE) as his:
        await enter(hers, room, "ali")
        await configure(hers, room)
        await enter(his, room, "bob")
        ping = his.xmpp.plugin["xep_0199"].ping
        assert await ping(f"{room}/bob") < 20
        await rooms(hers).set_role(room, "bob", "none")
        await his.presences.take("the kick", lambda p: p["type"] == "unavailable")
        with pytest.raises(IqError) as refusal:
            await his.xmpp.plugin["xep_0199"].send_ping(f"{room}/bob")
        assert refusal.value.condition == "not-acceptable"
