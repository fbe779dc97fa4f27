"""A room's archive (XEP-0313 §5.1.2) and what moderators take back (XEP-0425)."""

from __future__ import annotations

from presence.archiver import Archiver
from presence.edge.archive import SqlArchive
from tests.xmpp.rooms_scene import TEA, administer, condition, configure, item, join, opened, say, three
from tests.xmpp.scene import Client, Scene, Silence, bare
from xmpp.element import E, Element
from xmpp.extensions.xep_0313_archive import NS
from xmpp.forms import write_form
from xmpp.message import FORWARD_NS, SID_NS
from xmpp.rooms.names import MODERATE_NS, OCCUPANT_NS, RETRACT_NS, USER_NS


async def written(xmpp: Scene) -> None:
    """What was said goes into the database."""
    archiver = Archiver(
        holder="test",
        domains=frozenset({"example.org", "rooms.example.org"}),
        bus=xmpp.bus,
        archive=SqlArchive(xmpp.store.database),
        store=xmpp.store,
        metrics=Silence(),
        clock=xmpp.clock,
    )
    await archiver.step(0)


async def asked(client: Client, **fields: str) -> list[Element]:
    """Messages of the archive, as forwarded."""
    form = write_form("submit", NS, {name: [value] for name, value in fields.items()})
    answer = await client.ask("set", E("query", NS, {"queryid": "q"}, form), TEA)
    assert answer.get("type") == "result", condition(answer)
    found = []
    for stanza in client.heard("message"):
        result = stanza.find("result", NS)
        assert result is not None
        assert stanza.get("from") == TEA
        forwarded = result.find("forwarded", FORWARD_NS)
        assert forwarded is not None
        found.append(forwarded.elements[1])
    return found


def bodies(messages: list[Element]) -> list[str]:
    return [body.text if (body := each.find("body")) is not None else "" for each in messages]


async def test_what_was_said_is_read_before_and_after_it_is_written(xmpp: Scene) -> None:
    alice, bob, _ = await three(xmpp)
    await say(alice, "one")
    await say(bob, "two")
    for client in (alice, bob):
        client.heard()
    assert bodies(await asked(bob)) == ["one", "two"]
    await written(xmpp)
    found = await asked(bob)
    assert bodies(found) == ["one", "two"]
    assert [each.get("from") for each in found] == [f"{TEA}/ali", f"{TEA}/bob"]
    assert found[0].get("type") == "groupchat"
    assert found[0].find("occupant-id", OCCUPANT_NS) is not None
    assert found[0].find("x", USER_NS) is None
    (only,) = await asked(bob, **{"with": f"{TEA}/ali"})
    assert bodies([only]) == ["one"]
    seen = await asked(alice)
    user = seen[1].find("x", USER_NS)
    assert user is not None
    assert user.elements[0].get("jid") == bare("bob")


async def test_only_those_read_it_who_could_have_been_there(xmpp: Scene) -> None:
    alice, bob, carol = await three(xmpp)
    await say(alice, "for all")
    assert bodies(await asked(carol)) == ["for all"]
    query = E("query", NS)
    await configure(alice, membersonly="1")
    assert condition(await carol.ask("set", query.copy(), TEA)) == "forbidden"
    await administer(alice, item(jid=bare("carol"), affiliation="member"))
    assert bodies(await asked(carol)) == ["for all"]
    await configure(alice, membersonly="0", passwordprotectedroom="1", roomsecret="x")
    bob.heard()
    assert condition(await bob.ask("set", query.copy(), TEA)) == "forbidden"
    await administer(alice, item(jid=bare("carol"), affiliation="outcast"))
    assert condition(await carol.ask("set", query.copy(), TEA)) == "forbidden"
    assert condition(await carol.ask("get", E("metadata", NS), TEA)) == "forbidden"


async def test_a_room_that_is_not_archived_leaves_nothing(xmpp: Scene) -> None:
    alice, _, carol = await three(xmpp)
    await configure(alice, enablearchiving="0")
    await say(alice, "off the record")
    alice.heard()
    assert bodies(await asked(alice)) == []
    heard = await join(carol, "caz")
    assert bodies([each for each in heard if each.name == "message"]) == ["off the record", ""]


async def test_a_new_room_of_an_old_name_has_nothing_of_the_old_one(xmpp: Scene) -> None:
    alice, bob, carol = await three(xmpp)
    await say(alice, "secret")
    await written(xmpp)
    await alice.here(type="unavailable", to=f"{TEA}/ali")
    await bob.here(type="unavailable", to=f"{TEA}/bob")
    await xmpp.wait(1)
    await opened(carol, "caz")
    assert bodies(await asked(carol)) == []


async def moderate(client: Client, id: str) -> Element:
    reason = E("reason", MODERATE_NS, {}, "spam")
    return await client.ask(
        "set", E("moderate", MODERATE_NS, {"id": id}, E("retract", RETRACT_NS), reason), TEA
    )


async def test_a_moderator_takes_back_what_somebody_said(xmpp: Scene) -> None:
    alice, bob, carol = await three(xmpp)
    await say(alice, "keep this")
    await say(bob, "buy this")
    said = bob.heard("message")[-1].find("stanza-id", SID_NS)
    assert said is not None
    assert condition(await moderate(bob, said.get("id"))) == "forbidden"
    assert condition(await moderate(alice, "nothing")) == "item-not-found"
    alice.heard()
    await written(xmpp)
    assert (await moderate(alice, said.get("id"))).get("type") == "result"
    (told,) = bob.heard("message")
    assert (told.get("from"), told.get("type")) == (TEA, "groupchat")
    retract = told.find("retract", RETRACT_NS)
    assert retract is not None
    moderated = retract.find("moderated", MODERATE_NS)
    assert moderated is not None
    assert (retract.get("id"), moderated.get("by")) == (said.get("id"), f"{TEA}/ali")
    heard = await join(carol, "caz")
    assert "buy this" not in bodies([each for each in heard if each.name == "message"])
    await written(xmpp)
    found = await asked(carol)
    assert bodies(found) == ["keep this", "", ""]
    stone = found[1].find("retracted", RETRACT_NS)
    assert stone is not None
    assert found[1].get("from") == f"{TEA}/bob"
