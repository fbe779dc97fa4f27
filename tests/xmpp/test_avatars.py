"""XEP-0398: an avatar published one way is there the other way, and its hash is in presence (XEP-0153)."""

from __future__ import annotations

import base64
import hashlib

from tests.xmpp.scene import Client, Scene, bare
from tests.xmpp.test_pep import interested, items, publish
from xmpp.element import CLIENT_NS, E, Element
from xmpp.extensions.xep_0398_avatar_conversion import DATA, METADATA, UPDATE_NS

VCARD = "vcard-temp"
IMAGE = b"\x89PNG and so on"
HASH = hashlib.sha1(IMAGE, usedforsecurity=False).hexdigest()
ENCODED = base64.b64encode(IMAGE).decode()


def card(*children: Element) -> Element:
    return E("vCard", VCARD, {}, E("FN", VCARD, {}, "Alice"), *children)


def photo(encoded: str = ENCODED) -> Element:
    return E("PHOTO", VCARD, {}, E("TYPE", VCARD, {}, "image/png"), E("BINVAL", VCARD, {}, encoded))


def metadata(id: str = HASH) -> Element:
    attrs = {"id": id, "bytes": str(len(IMAGE)), "type": "image/png"}
    return E("metadata", METADATA, {}, E("info", METADATA, attrs))


async def read_card(client: Client, of: str = "") -> Element:
    return (await client.ask("get", E("vCard", VCARD), of)).elements[0]


async def publish_avatar(client: Client) -> None:
    await publish(client, E("data", DATA, {}, ENCODED), HASH, DATA)
    await publish(client, metadata(), HASH, METADATA)


async def hash_seen(watcher: Client, client: Client, *children: Element) -> str | None:
    """The hash a contact finds in the client's next presence; None when there is nothing about it."""
    watcher.heard()
    await client.here(*children)
    (shown,) = [p for p in watcher.heard("presence") if p.get("from") == client.jid]
    update = shown.find("x", UPDATE_NS)
    found = update.find("photo") if update is not None else None
    return found.text if found is not None else None


async def test_an_avatar_published_by_eventing_is_in_the_card_and_in_presence(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob")
    phone = await xmpp.online("alice", "phone", node="xmpp-2")
    assert await hash_seen(bob, alice) is None
    await alice.ask("set", card())
    await publish_avatar(alice)
    assert await read_card(bob, bare("alice")) == card(photo())
    assert await hash_seen(bob, alice, E("status", CLIENT_NS, {}, "new")) == HASH
    assert await hash_seen(bob, phone, E("status", CLIENT_NS, {}, "new")) == HASH
    later = await xmpp.connect("alice", "later")
    assert await hash_seen(bob, later) == HASH
    await publish(alice, E("metadata", METADATA), "none", METADATA)
    assert await read_card(bob, bare("alice")) == card()
    assert await hash_seen(bob, alice, E("status", CLIENT_NS, {}, "gone")) is None


async def test_a_photo_in_the_card_is_published_and_its_watchers_are_told(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob")
    await alice.ask("set", card(photo()))
    listed = (await items(bob, bare("alice"), METADATA)).elements[0].elements[0].elements
    assert listed[0].elements == [metadata()]
    data = (await items(bob, bare("alice"), DATA)).elements[0].elements[0].elements
    assert (data[0].get("id"), data[0].elements[0].text) == (HASH, ENCODED)
    assert await hash_seen(bob, alice, E("status", CLIENT_NS, {}, "new")) == HASH
    await alice.ask("set", card())
    listed = (await items(bob, bare("alice"), METADATA)).elements[0].elements[0].elements
    assert listed[0].elements == [E("metadata", METADATA)]
    assert await hash_seen(bob, alice, E("status", CLIENT_NS, {}, "gone")) is None


async def test_who_has_no_photo_yet_says_so_and_what_is_wrong_is_corrected(xmpp: Scene) -> None:
    await xmpp.friends("alice", "bob")
    alice, bob = await xmpp.online("alice"), await xmpp.online("bob")
    await publish_avatar(alice)
    for said, expected in (
        (E("x", UPDATE_NS), HASH),
        (E("x", UPDATE_NS, {}, E("photo", UPDATE_NS)), ""),
        (E("x", UPDATE_NS, {}, E("photo", UPDATE_NS, {}, "0" * 40)), HASH),
    ):
        assert await hash_seen(bob, alice, said, E("status", CLIENT_NS, {}, expected or "-")) == expected


async def test_what_is_no_image_of_that_hash_changes_no_card(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice = await xmpp.online("alice")
    await alice.ask("set", card())
    await publish(alice, metadata("0" * 40), "1", METADATA)  # no data
    await publish(alice, E("data", DATA, {}, "not base64!"), HASH, DATA)
    await publish(alice, metadata(), HASH, METADATA)
    await publish(alice, E("data", DATA, {}, base64.b64encode(b"another").decode()), HASH, DATA)
    await publish(alice, metadata(), HASH, METADATA)
    assert await read_card(alice) == card()
    await alice.ask("set", card(photo("not base64!")))
    assert await read_card(alice) == card(photo("not base64!"))


async def test_other_nodes_are_no_avatars(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice = await interested(xmpp, "alice")
    await publish(alice, metadata(), HASH, "urn:other")
    assert await read_card(alice) == E("vCard", VCARD)
