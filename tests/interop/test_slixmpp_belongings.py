"""slixmpp: vCards (XEP-0054), private XML (XEP-0049), personal eventing (XEP-0163, XEP-0115, XEP-0118)."""

from __future__ import annotations

import asyncio
from xml.etree import ElementTree as ET

import pytest
from slixmpp.exceptions import IqError

from tests.support.inbox import PATIENCE, Inbox
from tests.support.stage import Person, Stage
from tests.support.xmppclient import Client

pytestmark = pytest.mark.interop

PEP = ("xep_0030", "xep_0060", "xep_0115", "xep_0163", "xep_0118")


async def test_a_card_is_published_and_read(stage: Stage) -> None:
    alice, carol = await stage.friends("alice", "carol")
    async with (
        stage.client(alice, plugins=("xep_0054",)) as desk,
        stage.client(carol, plugins=("xep_0054",)) as hers,
    ):
        cards = desk.xmpp.plugin["xep_0054"]
        card = cards.make_vcard()
        card["FN"] = "Alice Müller"
        await cards.publish_vcard(card)
        read = await hers.xmpp.plugin["xep_0054"].get_vcard(alice.address)
        assert read["vcard_temp"]["FN"] == "Alice Müller"
        with pytest.raises(IqError, match="item-not-found"):
            await cards.get_vcard(carol.address)


async def test_private_xml_is_kept(stage: Stage) -> None:
    (alice,) = await stage.friends("alice")
    async with stage.client(alice, plugins=("xep_0048", "xep_0049", "xep_0223")) as desk:
        bookmarks = desk.xmpp.plugin["xep_0048"]
        stored = bookmarks.stanza.Bookmarks()
        stored.add_conference("room@muc.example.org", "alice", autojoin=True, name="A room")
        await bookmarks.set_bookmarks(stored, method="xep_0049")
        kept = await bookmarks.get_bookmarks(method="xep_0049")
        (conference,) = kept["private"]["bookmarks"]["conferences"]
        assert (str(conference["jid"]), conference["name"]) == ("room@muc.example.org", "A room")


async def listener(stage: Stage, person: Person, resource: str = "desk") -> tuple[Client, Inbox[str]]:
    """A client that wants to hear of tunes."""
    client: Client = stage.client(person, resource, plugins=PEP, initial_presence=False)
    heard: Inbox[str] = Inbox(f"{client.full} (tunes)")
    client.xmpp.plugin["xep_0163"].add_interest("http://jabber.org/protocol/tune")
    client.xmpp.add_event_handler(
        "user_tune_publish",
        lambda m: heard.put(f"{m['from']} {m['pubsub_event']['items']['item']['tune']['title']}"),
    )
    await client.login()
    await client.xmpp.plugin["xep_0115"].update_caps()
    client.xmpp.send_presence()
    return client, heard


async def test_a_tune_is_told_to_friends_who_want_to_hear_it(stage: Stage) -> None:
    alice, carol = await stage.friends("alice", "carol")
    desk, own = await listener(stage, alice)
    hers, heard = await listener(stage, carol)
    try:
        await desk.online(carol.address)
        await asyncio.gather(desk.echo(), hers.echo())
        await desk.xmpp.plugin["xep_0118"].publish_tune(title="One")
        for inbox in (own, heard):
            await inbox.take("the tune", lambda line: line == f"{alice.address} One", PATIENCE)
        later, late = await listener(stage, carol, "later")
        await late.take("the last tune", lambda line: line == f"{alice.address} One", PATIENCE)
        await later.close()
        items = await hers.xmpp.plugin["xep_0060"].get_items(alice.address, "http://jabber.org/protocol/tune")
        assert len(items["pubsub"]["items"]["substanzas"]) == 1
    finally:
        await desk.close()
        await hers.close()


async def test_a_stranger_subscribes_to_what_is_open_and_a_member_reads_what_is_for_few(stage: Stage) -> None:
    alice, bob = await stage.person("alice"), await stage.person("bob")
    async with stage.client(alice, plugins=PEP) as hers, stage.client(bob, plugins=PEP) as his:
        mine, theirs = hers.xmpp.plugin["xep_0060"], his.xmpp.plugin["xep_0060"]
        for node, access in (("urn:open", "open"), ("urn:few", "whitelist")):
            form = mine.stanza.pubsub.Configure()["form"]
            form["type"] = "submit"
            form.add_field(
                var="FORM_TYPE", ftype="hidden", value="http://jabber.org/protocol/pubsub#node_config"
            )
            form.add_field(var="pubsub#access_model", value=access)
            await mine.create_node(alice.address, node, config=form)
        answer = await theirs.subscribe(alice.address, "urn:open")
        assert answer["pubsub"]["subscription"]["subscription"] == "subscribed"
        payload = ET.fromstring("<entry xmlns='http://www.w3.org/2005/Atom'/>")
        await mine.publish(alice.address, "urn:open", id="1", payload=payload)
        told = await his.messages.take("the news", lambda m: m["from"].bare == alice.address)
        assert told["pubsub_event"]["items"]["node"] == "urn:open"
        subscribed = await theirs.get_subscriptions(alice.address)
        assert [str(each["jid"]) for each in subscribed["pubsub"]["subscriptions"]] == [bob.address]
        await theirs.unsubscribe(alice.address, "urn:open")
        await mine.publish(alice.address, "urn:few", id="1", payload=payload)
        with pytest.raises(IqError, match="not-allowed"):
            await theirs.get_items(alice.address, "urn:few")
        await mine.modify_affiliations(alice.address, "urn:few", [(bob.address, "member")])
        read = await theirs.get_items(alice.address, "urn:few")
        assert len(read["pubsub"]["items"]["substanzas"]) == 1
