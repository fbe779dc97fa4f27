"""XEP-0402: bookmarks of today and of old are the same."""

from __future__ import annotations

from tests.xmpp.scene import Client, Scene, bare
from tests.xmpp.test_pep import condition, items, publish
from xmpp.element import E, Element
from xmpp.extensions.xep_0402_bookmarks import NODE, OLD_NS
from xmpp.pubsub import NS, OWNER_NS

PRIVATE = "jabber:iq:private"


def room(name: str, *children: Element) -> Element:
    return E("conference", NODE, {"name": name, "autojoin": "true"}, E("nick", NODE, {}, "ali"), *children)


def old_room(jid: str, name: str) -> Element:
    attrs = {"jid": jid, "name": name, "autojoin": "true"}
    return E("conference", OLD_NS, attrs, E("nick", OLD_NS, {}, "ali"))


async def stored(client: Client) -> list[Element]:
    answer = await client.ask("get", E("query", PRIVATE, {}, E("storage", OLD_NS)))
    return answer.elements[0].elements[0].elements


async def store(client: Client, *bookmarks: Element) -> None:
    query = E("query", PRIVATE, {}, E("storage", OLD_NS, {}, *bookmarks))
    assert (await client.ask("set", query)).get("type") == "result"


async def published(client: Client) -> dict[str, Element]:
    answer = await items(client, node=NODE)
    return {item.get("id"): item.elements[0] for item in answer.elements[0].elements[0].elements}


OPTIONS = {"access_model": "whitelist", "max_items": "max", "send_last_published_item": "never"}


async def test_what_is_published_is_found_by_clients_of_old(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice = await xmpp.online("alice")
    url = E("url", OLD_NS, {"url": "https://example.org/"})
    await store(alice, url)
    await publish(alice, room("One"), "one@muc.example.org", NODE, **OPTIONS)
    await publish(alice, room("Two"), "two@muc.example.org", NODE)
    rooms = [old_room("one@muc.example.org", "One"), old_room("two@muc.example.org", "Two")]
    assert await stored(alice) == [url, *rooms]
    retract = E("retract", NS, {"node": NODE}, E("item", NS, {"id": "one@muc.example.org"}))
    await alice.ask("set", E("pubsub", NS, {}, retract))
    assert await stored(alice) == [url, rooms[1]]
    await alice.ask("set", E("pubsub", OWNER_NS, {}, E("delete", OWNER_NS, {"node": NODE})))
    assert await stored(alice) == [url]


async def test_what_clients_of_old_store_is_published_and_private(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob")
    await store(alice, old_room("one@muc.example.org", "One"), old_room("TWO@muc.example.org", "Two"))
    expected = {"one@muc.example.org": room("One"), "two@muc.example.org": room("Two")}
    assert await published(alice) == expected
    assert condition(await items(bob, bare("alice"), NODE)) == "not-allowed"
    more = E("extensions", NODE, {}, E("pinned", "urn:client"))
    await publish(alice, room("One", more), "one@muc.example.org", NODE, **OPTIONS)
    await store(alice, old_room("one@muc.example.org", "Uno"), E("conference", OLD_NS, {"jid": "@"}))
    assert await published(alice) == {"one@muc.example.org": room("Uno", more)}
    await store(alice)
    assert await published(alice) == {}
