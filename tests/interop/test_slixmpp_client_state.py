"""slixmpp's XEP-0352: presence waits until the client is active, or a message comes."""

from __future__ import annotations

import pytest

from tests.support.stage import Stage

pytestmark = pytest.mark.interop


async def test_presence_waits_for_an_active_client(stage: Stage) -> None:
    alice, carol = await stage.friends("alice", "carol")
    async with stage.client(alice, plugins=("xep_0352",)) as desk, stage.client(carol) as hers:
        await desk.online(carol.address)
        desk.xmpp.plugin["xep_0352"].send_inactive()
        await desk.echo()
        for status in ("one", "two", "three"):
            hers.show("away", status)
        await hers.online(carol.address, status="three")
        hers.say(alice.address, "hello")
        await desk.online(carol.address, status="three")
        await desk.hears("hello")
        assert not desk.presences.matching(lambda p: str(p["status"]) in ("one", "two"))
        hers.show("dnd", "four")
        await hers.echo()
        desk.xmpp.plugin["xep_0352"].send_active()
        await desk.online(carol.address, show="dnd", status="four")
