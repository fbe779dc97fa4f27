"""PJSIP by its Python binding: registers, publishes, watches, chats; over UDP and TCP."""

from __future__ import annotations

import pytest

from tests.interop.lines import program
from tests.support.stage import Stage

pytestmark = pytest.mark.interop


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_pjsip_and_an_xmpp_client_see_each_other_and_chat(stage: Stage, transport: str) -> None:
    alice, bob = await stage.friends("alice", "bob")
    user, _, domain = bob.address.partition("@")
    server = f"127.0.0.1:{stage.tandem.sip_port}"
    async with (
        stage.client(alice) as desk,
        program("pjsua", user, domain, bob.password, server, transport) as phone,
    ):
        phone.do("register")
        await phone.tells("registered", status=200, active=True)
        await desk.online(bob.address)

        phone.do("show", "away", "Gone fishing")
        await desk.online(bob.address, status="Gone fishing")

        phone.do("watch", alice.address)
        await phone.tells("buddy", online=True)
        desk.show("dnd", "In a meeting")
        await phone.tells("buddy", online=True, note="In a meeting")

        phone.do("message", alice.address, "Hello from PJSIP")
        await phone.tells("sent", status=200)
        await desk.hears("Hello from PJSIP")
        desk.say(bob.address, "Hello PJSIP")
        await phone.tells("message", body="Hello PJSIP", type="text/plain")

        phone.do("quit")
        await desk.offline(bob.address)
