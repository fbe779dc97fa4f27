"""slixmpp, with a desktop client's plugins: discovery, version, ping, receipts, corrections, roster."""

from __future__ import annotations

import pytest

from tests.support.stage import Stage
from tests.support.tandem import DOMAIN

pytestmark = pytest.mark.interop

PLUGINS = (
    "xep_0012",
    "xep_0030",
    "xep_0085",
    "xep_0092",
    "xep_0184",
    "xep_0199",
    "xep_0203",
    "xep_0308",
    "xep_0333",
)


async def test_it_discovers_the_server(stage: Stage) -> None:
    (alice,) = await stage.friends("alice")
    async with stage.client(alice, plugins=PLUGINS) as desk:
        host = desk.xmpp.boundjid.host
        info = await desk.xmpp.plugin["xep_0030"].get_info(jid=host)
        identities = {(kind, type) for kind, type, *_ in info["disco_info"]["identities"]}
        assert ("server", "im") in identities
        features = info["disco_info"]["features"]
        for feature in ("http://jabber.org/protocol/disco#info", "urn:xmpp:ping", "jabber:iq:version"):
            assert feature in features
        assert (await desk.xmpp.plugin["xep_0092"].get_version(host))["software_version"]["name"]
        assert await desk.xmpp.plugin["xep_0199"].ping(host) < 5


async def test_it_speaks_direct_tls_and_every_mechanism(stage: Stage) -> None:
    """XEP-0368 as clients do it who found the port; slixmpp itself looks nothing up here."""
    (alice,) = await stage.friends("alice")
    for mechanism in ("SCRAM-SHA-1", "SCRAM-SHA-256", "PLAIN"):
        async with stage.client(alice, mechanism=mechanism, direct_tls=True) as desk:
            await desk.echo()


async def test_chat_states_receipts_and_corrections_cross_untouched(stage: Stage) -> None:
    alice, carol = await stage.friends("alice", "carol")
    async with stage.client(alice, plugins=PLUGINS) as desk, stage.client(carol, plugins=PLUGINS) as hers:
        message = desk.xmpp.make_message(mto=carol.address, mbody="typo", mtype="chat")
        message["id"] = "m1"
        message["chat_state"] = "active"
        message["request_receipt"] = True
        message.send()
        heard = await hers.hears("typo")
        assert heard["chat_state"] == "active"
        assert heard["id"] == "m1"
        await desk.messages.take("a receipt", lambda m: m["receipt"] == "m1")

        correction = desk.xmpp.make_message(mto=carol.address, mbody="no typo", mtype="chat")
        correction["replace"]["id"] = "m1"
        correction.send()
        assert (await hers.hears("no typo"))["replace"]["id"] == "m1"


async def test_the_roster_is_kept_and_pushed(stage: Stage) -> None:
    alice, bob = await stage.person("alice"), await stage.person("bob")
    async with stage.client(alice, "desk") as desk, stage.client(alice, "mobile") as mobile:
        await desk.xmpp.update_roster(bob.address, name="Bob", groups=["Friends", "Büro"])
        push = await mobile.pushes.take("bob's item", lambda p: bob.address in p["roster"]["items"])
        item = push["roster"]["items"][bob.address]
        assert item["name"] == "Bob"
        assert set(item["groups"]) == {"Friends", "Büro"}
    async with stage.client(alice, "again") as again:
        assert again.roster["roster"]["items"][bob.address]["name"] == "Bob"


async def test_the_server_says_in_its_stream_features_what_it_is(stage: Stage) -> None:
    """XEP-0115 §6.3: the hash is that of what is found at its node."""
    (alice,) = await stage.friends("alice")
    async with stage.raw() as stream:
        await stream.starttls()
        await stream.authenticate(alice.address.partition("@")[0], alice.password)
        features = await stream.open()
        (caps,) = features.findall("{http://jabber.org/protocol/caps}c")
    async with stage.client(alice, plugins=("xep_0030", "xep_0115")) as desk:
        node = f"{caps.get('node')}#{caps.get('ver')}"
        info = await desk.xmpp.plugin["xep_0030"].get_info(jid=DOMAIN, node=node)
        assert desk.xmpp.plugin["xep_0115"].generate_verstring(info["disco_info"], "sha-1") == caps.get("ver")
