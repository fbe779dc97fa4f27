"""Journey 2: bob's phone subscribes to alice; it is pending until she accepts, then it follows her."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.pidf import Seen, read_pidf
from tests.support.sipwire import SipMessage
from tests.support.stage import Stage

pytestmark = pytest.mark.journey


def tuples(notify: SipMessage) -> list[Seen]:
    return read_pidf(notify.body)


def shows(resource: str, *, show: str = "", note: str = "") -> Callable[[SipMessage], bool]:
    """The notification has that resource open, with that show and note."""

    def fits(notify: SipMessage) -> bool:
        return any(
            resource in seen.id and seen.open and seen.show == show and (not note or note in seen.notes)
            for seen in tuples(notify)
        )

    return fits


def nobody(notify: SipMessage) -> bool:
    return not any(seen.open for seen in tuples(notify))


async def test_pending_then_accepted_then_followed(stage: Stage) -> None:
    alice, bob = await stage.person("alice"), await stage.person("bob")
    async with stage.phone(bob) as phone:
        async with stage.client(alice) as desk:
            await phone.register()
            watch = await phone.subscribe(alice.address)
            assert watch.response.status in (200, 202)
            pending = await watch.state("pending")
            assert "desk" not in pending.text
            assert nobody(pending)

            await desk.asked(bob.address)
            desk.answer(bob.address, "subscribed")
            active = await watch.state("active")
            assert "expires=" in active["Subscription-State"]
            if not shows("desk")(active):
                await watch.notified("her desk", shows("desk"))

            desk.show("away", "Out for lunch")
            await watch.notified("away, out for lunch", shows("desk", show="away", note="Out for lunch"))

            async with stage.client(alice, "mobile") as mobile:
                mobile.show("dnd", "In the train")
                both = await watch.notified("both", shows("mobile", show="dnd", note="In the train"))
                assert shows("desk", show="away")(both)
            await watch.notified(
                "the desk alone",
                lambda n: shows("desk", show="away")(n) and not shows("mobile", show="dnd")(n),
            )
        await watch.notified("nobody there", nobody)


async def test_a_request_made_while_she_was_away_is_shown_at_her_login(stage: Stage) -> None:
    alice, bob = await stage.person("alice"), await stage.person("bob")
    async with stage.phone(bob, "tcp") as phone:
        await phone.register()
        watch = await phone.subscribe(alice.address)
        await watch.state("pending")
        async with stage.client(alice) as first:
            await first.asked(bob.address)
        async with stage.client(alice) as again:
            await again.asked(bob.address)
            again.answer(bob.address, "subscribed")
            active = await watch.state("active")
            if not shows("desk")(active):
                await watch.notified("her desk", shows("desk"))


async def test_friends_need_not_ask_again(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk, stage.phone(bob) as phone:
        await desk.shown("chat", "Talk to me")
        watch = await phone.subscribe(alice.address)
        assert watch.response.status == 200
        first = await watch.state("active")
        assert shows("desk", show="chat", note="Talk to me")(first)


async def test_the_phone_refreshes_and_ends_its_subscription(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice), stage.phone(bob) as phone:
        watch = await phone.subscribe(alice.address)
        await watch.state("active")
        assert (await watch.refresh()).status == 200
        again = await watch.state("active")
        assert shows("desk")(again)
        assert (await watch.end()).status == 200
        assert "timeout" in (await watch.state("terminated"))["Subscription-State"]
        assert (await watch.refresh()).status == 481


async def test_a_fetch_is_answered_once(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk, stage.phone(bob) as phone:
        await desk.shown("xa", "Asleep")
        watch = await phone.subscribe(alice.address, expires=0)
        only = await watch.state("terminated")
        assert shows("desk", show="xa", note="Asleep")(only)


async def test_phones_see_each_other(stage: Stage) -> None:
    carol, bob = await stage.friends("carol", "bob")
    async with stage.phone(carol, "tcp") as watcher, stage.phone(bob) as phone:
        await watcher.register()
        watch = await watcher.subscribe(bob.address)
        assert nobody(await watch.state("active"))
        await phone.register()
        await watch.notified("bob open", lambda n: any(seen.open for seen in tuples(n)))
        await phone.unregister()
        await watch.notified("bob closed", nobody)
