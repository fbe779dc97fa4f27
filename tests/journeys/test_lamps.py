"""A desk phone's lamp follows an XMPP contact, and an XMPP client sees who is in a call."""

from __future__ import annotations

import pytest

from sip.documents.dialog_info import CONTENT_TYPE
from tests.support.stage import Stage

pytestmark = pytest.mark.journey


async def test_a_lamp_follows_presence(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk, stage.phone(bob) as phone:
        watch = await phone.subscribe(alice.address, event="dialog", Accept=CONTENT_TYPE)
        assert "<state>terminated</state>" in (await watch.state("active")).text
        desk.show("dnd")
        await watch.notified("busy", lambda n: "<state>confirmed</state>" in n.text)
        desk.show()
        await watch.notified("free", lambda n: "<state>terminated</state>" in n.text)


async def test_who_is_in_a_call_is_busy_on_xmpp(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk, stage.phone(bob) as phone:
        await phone.register()
        await desk.online(bob.address)
        for state, show in (("confirmed", "dnd"), ("terminated", "")):
            body = (
                f'<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="0" state="full"'
                f' entity="sip:{bob.address}"><dialog id="1"><state>{state}</state></dialog></dialog-info>'
            )
            headers = [("Event", "dialog"), ("Expires", "600"), ("Content-Type", CONTENT_TYPE)]
            answer = await phone.request("PUBLISH", f"sip:{bob.address}", headers, body.encode())
            assert answer.status == 200
            await desk.online(bob.address, show=show)
