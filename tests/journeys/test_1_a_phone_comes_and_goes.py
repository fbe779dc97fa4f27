"""Journey 1: alice (XMPP) sees bob come online when his phone registers, change when it publishes, leave."""

from __future__ import annotations

import pytest

from tests.support.pidf import pidf
from tests.support.stage import Stage

pytestmark = pytest.mark.journey


async def test_she_sees_his_phone_register_publish_and_unregister(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk, stage.phone(bob) as phone:
        assert (await phone.register()).status == 200
        await desk.online(bob.address)

        published = await phone.publish(pidf(bob.address, note="On holiday"))
        assert published.status == 200
        await desk.online(bob.address, status="On holiday")

        changed = await phone.publish(
            pidf(bob.address, show="dnd", note="Packing"), etag=published["SIP-ETag"]
        )
        assert changed.status == 200
        assert changed["SIP-ETag"] != published["SIP-ETag"]
        await desk.online(bob.address, show="dnd", status="Packing")

        assert (await phone.unregister()).status == 200
        await desk.offline(bob.address)


async def test_a_registration_that_expires_takes_him_offline(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk, stage.phone(bob) as phone:
        assert (await phone.register(expires=2)).status == 200
        await desk.online(bob.address)
        await desk.offline(bob.address)


async def test_a_publication_that_expires_takes_its_note_away(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk, stage.phone(bob) as phone:
        await phone.register()
        assert (await phone.publish(pidf(bob.address, note="Back in a second"), expires=2)).status == 200
        await desk.online(bob.address, status="Back in a second")
        await desk.online(bob.address, status="")


@pytest.mark.parametrize("transport", ["tcp", "tls"])
async def test_a_phone_whose_connection_breaks_goes_offline(stage: Stage, transport: str) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk, stage.phone(bob, transport) as phone:
        assert (await phone.register()).status == 200
        await desk.online(bob.address)
        phone.close()
        await desk.offline(bob.address)


async def test_she_finds_him_online_when_she_logs_in_later(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.phone(bob) as phone:
        await phone.register()
        await phone.publish(pidf(bob.address, note="Here since noon"))
        async with stage.client(alice) as desk:
            await desk.online(bob.address, status="Here since noon")


async def test_a_stranger_sees_nothing_of_him(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    mallory = await stage.person("mallory")
    async with stage.client(alice) as desk, stage.client(mallory) as stranger, stage.phone(bob) as phone:
        stranger.xmpp.send_presence(pto=bob.address, ptype="probe")
        await phone.register()
        await desk.online(bob.address)
        await stranger.echo()
        leaked = [p for p in stranger.presences.history if p["from"].bare == bob.address]
        assert [p for p in leaked if p.xml.get("type") not in ("unsubscribed", "error")] == []
