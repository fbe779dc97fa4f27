"""Journey 3: alice denies, or cancels: the dialog ends with `rejected`; nothing leaks before or after."""

from __future__ import annotations

import pytest

from tests.support.pidf import read_pidf
from tests.support.stage import Stage

pytestmark = pytest.mark.journey


async def test_a_denied_request_ends_the_dialog_and_shows_nothing(stage: Stage) -> None:
    alice, bob = await stage.person("alice"), await stage.person("bob")
    async with stage.client(alice) as desk, stage.phone(bob) as phone:
        desk.show("away", "My secret place")
        await phone.register()
        watch = await phone.subscribe(alice.address)
        await watch.state("pending")
        await desk.asked(bob.address)
        await desk.shown("dnd", "Another secret place")
        desk.answer(bob.address, "unsubscribed")
        ended = await watch.state("terminated")
        assert "reason=rejected" in ended["Subscription-State"]
        for notify in watch.notifies.history:
            assert "secret" not in notify.text
            assert "desk" not in notify.text
            assert not any(seen.open for seen in read_pidf(notify.body))


async def test_a_cancelled_authorisation_ends_the_dialog_and_nothing_follows(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk, stage.phone(bob) as phone:
        await phone.register()
        watch = await phone.subscribe(alice.address)
        await watch.state("active")
        desk.answer(bob.address, "unsubscribed")
        ended = await watch.state("terminated")
        assert "reason=rejected" in ended["Subscription-State"]
        assert not any(seen.open for seen in read_pidf(ended.body))

        told = len(watch.notifies.history)
        desk.show("away", "My secret place")
        desk.say(bob.address, "after the change")
        await phone.hears("after the change")
        assert len(watch.notifies.history) == told
        assert not [r for r in phone.requests.history if r.method == "NOTIFY"]


async def test_she_still_sees_him_after_she_cancelled(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk, stage.phone(bob) as phone:
        desk.answer(bob.address, "unsubscribed")
        await phone.register()
        await desk.online(bob.address)


async def test_removing_him_from_the_roster_ends_both_directions(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk, stage.phone(bob) as phone:
        await phone.register()
        await desk.online(bob.address)
        watch = await phone.subscribe(alice.address)
        await watch.state("active")
        await desk.xmpp.del_roster_item(bob.address)
        assert "reason=rejected" in (await watch.state("terminated"))["Subscription-State"]
        await desk.offline(bob.address)
