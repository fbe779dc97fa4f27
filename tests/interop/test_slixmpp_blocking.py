"""slixmpp's XEP-0191; and a phone, which is blocked by the same list."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.inbox import PATIENCE
from tests.support.stage import Stage

pytestmark = pytest.mark.interop


async def test_a_blocked_friend_sees_her_leave_and_is_not_heard(stage: Stage) -> None:
    alice, carol = await stage.friends("alice", "carol")
    async with stage.client(alice, plugins=("xep_0191",)) as desk, stage.client(carol) as hers:
        await hers.online(alice.address)
        blocking = desk.xmpp.plugin["xep_0191"]
        assert await blocking.get_blocked_jids() == set()
        pushed = asyncio.Event()
        desk.xmpp.add_event_handler("blocked", lambda _: pushed.set())
        await blocking.block(carol.address)
        async with asyncio.timeout(PATIENCE):
            await pushed.wait()
        assert {str(jid) for jid in await blocking.get_blocked_jids()} == {carol.address}
        await hers.offline(alice.address)
        id = hers.say(alice.address, "can you hear me?")
        assert await hers.bounced(id) == "service-unavailable"
        own = desk.say(carol.address, "no")
        assert await desk.bounced(own) == "not-acceptable"
        await blocking.unblock(carol.address)
        await hers.online(alice.address)
        hers.say(alice.address, "now?")
        await desk.hears("now?")


async def test_a_blocked_phone_is_shown_out_and_its_messages_are_refused(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice, plugins=("xep_0191",)) as desk, stage.phone(bob) as phone:
        await phone.register()
        await desk.online(bob.address)
        watch = await phone.subscribe(alice.address)
        await watch.state("active")
        await desk.xmpp.plugin["xep_0191"].block(bob.address)
        # Politely: he is not told that he is blocked (RFC 5025 §3.2.1), only that she is not there.
        await watch.notified("her going away", lambda n: "<basic>closed</basic>" in n.text)
        await desk.offline(bob.address)
        assert (await phone.message(alice.address, "hello?")).status >= 400
        await desk.xmpp.plugin["xep_0191"].unblock(bob.address)
        await desk.online(bob.address)
        await (await phone.subscribe(alice.address)).state("active")
        assert (await phone.message(alice.address, "hello!")).status < 300
        await desk.hears("hello!")


async def test_a_blocked_client_of_a_friend_sees_her_leave_and_the_others_do_not(stage: Stage) -> None:
    alice, carol = await stage.friends("alice", "carol")
    async with stage.client(alice, plugins=("xep_0191",)) as desk, stage.client(carol) as hers:
        await hers.online(alice.address)
        await desk.online(carol.address)
        one = hers.xmpp.boundjid.full
        blocking = desk.xmpp.plugin["xep_0191"]
        await blocking.block(one)
        await hers.offline(alice.address)
        await desk.offline(carol.address)
        async with stage.client(carol, "sofa") as other:
            await other.online(alice.address)
            await desk.online(carol.address)
            await blocking.unblock(one)
            await hers.online(alice.address)
