"""What is said about messages crosses, too: typing, arrived, read; and who watches is told to a phone."""

from __future__ import annotations

import pytest

from presence.messages import ChatState, Report
from sip.bodies import Content, understand
from sip.bodies.cpim import write_cpim
from sip.bodies.iscomposing import CONTENT_TYPE as TYPING
from sip.bodies.iscomposing import write_is_composing
from tests.support.stage import Person, Stage

pytestmark = pytest.mark.journey

STATES = "http://jabber.org/protocol/chatstates"
RECEIPTS = "urn:xmpp:receipts"


def envelope(sender: Person, recipient: Person, text: str, name: str) -> bytes:
    return write_cpim(
        sender=f"sip:{sender.address}",
        recipient=f"sip:{recipient.address}",
        sent="2026-01-01T00:00:00Z",
        media="text/plain",
        data=text.encode(),
        message_id=name,
        wants=(Report.DELIVERED,),
    )


async def test_typing_is_seen_on_both_sides(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk, stage.phone(bob) as phone:
        await phone.register()
        typing = write_is_composing(ChatState.COMPOSING)
        assert (await phone.message(alice.address, typing, content_type=TYPING)).status == 200
        await desk.messages.take("bob typing", lambda m: m.xml.find(f"{{{STATES}}}composing") is not None)
        desk.xmpp.send_raw(f"<message to='{bob.address}' type='chat'><composing xmlns='{STATES}'/></message>")
        notice = await phone.received("MESSAGE", "alice typing")
        assert notice["Content-Type"] == TYPING
        assert "<state>active</state>" in notice.text
        desk.xmpp.send_raw(f"<message to='{bob.address}' type='chat'><paused xmlns='{STATES}'/></message>")
        notice = await phone.received("MESSAGE", "alice pausing")
        assert "<state>idle</state>" in notice.text


async def test_receipts_are_told_to_who_asked_on_both_sides(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk, stage.phone(bob) as phone:
        await phone.register()
        desk.xmpp.send_raw(
            f"<message to='{bob.address}' type='chat' id='a1'><body>hi</body>"
            f"<request xmlns='{RECEIPTS}'/></message>"
        )
        await phone.hears("hi")
        await desk.messages.take(
            "the receipt of a1",
            lambda m: (got := m.xml.find(f"{{{RECEIPTS}}}received")) is not None and got.get("id") == "a1",
        )
        wish = envelope(bob, alice, "hello", "b1")
        assert (await phone.message(alice.address, wish, content_type="message/cpim")).status == 200
        shown = await desk.messages.take("hello", lambda m: m["body"] == "hello")
        assert shown.xml.get("id") == "b1"
        assert shown.xml.find(f"{{{RECEIPTS}}}request") is not None
        desk.xmpp.send_raw(
            f"<message to='{bob.address}' type='chat'><received xmlns='{RECEIPTS}' id='b1'/></message>"
        )
        report = await phone.received("MESSAGE", "the report on b1")
        opened = understand(Content("message/cpim", "utf-8", report.body))
        assert (opened.report, opened.about) == (Report.DELIVERED, "b1")


async def test_her_phone_shows_who_asks_to_see_her(stage: Stage) -> None:
    alice, bob = await stage.person("alice"), await stage.person("bob")
    async with stage.client(bob) as desk, stage.phone(alice) as phone:
        watch = await phone.subscribe(
            alice.address, event="presence.winfo", Accept="application/watcherinfo+xml"
        )
        assert 'state="full"' in (await watch.state("active")).text
        desk.subscribe(alice.address)
        asked = await watch.notified("bob's request", lambda n: bob.address in n.text)
        assert 'status="pending"' in asked.text
