"""Journey 6: bob's phone is off, alice's message waits for REGISTER; alice is offline, the phone gets 202."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import pytest

from tests.support.stage import Stage

pytestmark = pytest.mark.journey


async def test_messages_for_a_phone_that_is_off_arrive_in_order_at_register(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    spoken = [f"while you were out {number}" for number in range(5)]
    async with stage.client(alice) as desk:
        began = time.time()
        for text in spoken:
            desk.say(bob.address, text)
        await desk.echo()
        async with stage.phone(bob) as phone:
            assert (await phone.register()).status == 200
            last = await phone.hears(spoken[-1])
            arrived = [r for r in phone.requests.history if r.method == "MESSAGE"]
            assert [r.text for r in arrived] == spoken
            written = parsedate_to_datetime(last["Date"]).timestamp()
            assert began - 2 <= written <= time.time() + 2
            await phone.unregister()
        async with stage.phone(bob) as again:
            await again.register()
            desk.say(bob.address, "and now")
            await again.hears("and now")
            assert [r.text for r in again.requests.history if r.method == "MESSAGE"] == ["and now"]


async def test_messages_for_an_offline_client_get_202_and_are_found_at_login(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.phone(bob) as phone:
        await phone.register()
        for text in ("one", "two"):
            assert (await phone.message(alice.address, text)).status == 202
        async with stage.client(alice, plugins=("xep_0203",)) as desk:
            first = await desk.hears("one")
            await desk.hears("two")
            assert [m["body"] for m in desk.messages.history if m["body"]] == ["one", "two"]
            stamp = first["delay"]["stamp"]
            assert abs(stamp.timestamp() - time.time()) < 60
        async with stage.client(alice) as again:
            await phone.message(alice.address, "three")
            await again.hears("three")
            assert [m["body"] for m in again.messages.history if m["body"]] == ["three"]


async def test_a_phone_that_does_not_answer_gets_the_message_when_it_comes_back(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk:
        async with stage.phone(bob, "tcp") as phone:
            await phone.register()
            await desk.online(bob.address)
        await desk.offline(bob.address)
        desk.say(bob.address, "are you back?")
        async with stage.phone(bob, "tcp") as phone:
            await phone.register()
            await phone.hears("are you back?")


async def test_a_message_that_has_expired_is_not_delivered(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.phone(bob) as phone:
        await phone.register()
        assert (await phone.message(alice.address, "stale", Expires="0")).status in (200, 202)
        assert (await phone.message(alice.address, "fresh")).status == 202
        async with stage.client(alice) as desk:
            await desk.hears("fresh")
            assert [m["body"] for m in desk.messages.history if m["body"]] == ["fresh"]
