"""Journey 5: alice on two clients and a phone: messages reach all three; online until the last leaves."""

from __future__ import annotations

import pytest

from tests.support.pidf import read_pidf
from tests.support.sipwire import SipMessage
from tests.support.stage import Stage

pytestmark = pytest.mark.journey


def reachable(notify: SipMessage) -> bool:
    return any(seen.open for seen in read_pidf(notify.body))


async def test_a_message_from_a_phone_or_a_client_reaches_all_three_once(stage: Stage) -> None:
    alice, bob, carol = await stage.friends("alice", "bob", "carol")
    async with (
        stage.client(alice, "desk") as desk,
        stage.client(alice, "mobile") as mobile,
        stage.phone(alice) as phone,
        stage.phone(bob) as bobs,
        stage.client(carol) as carols,
    ):
        await phone.register()
        assert (await bobs.message(alice.address, "to all of you, from bob")).status == 200
        carols.say(alice.address, "to all of you, from carol")
        for text in ("to all of you, from bob", "to all of you, from carol"):
            await desk.hears(text)
            await mobile.hears(text)
            await phone.hears(text)
        for client in (desk, mobile):
            await client.echo()
            assert len([m for m in client.messages.history if m["body"]]) == 2
        assert len([r for r in phone.requests.history if r.method == "MESSAGE"]) == 2


async def test_a_message_to_one_resource_reaches_only_that(stage: Stage) -> None:
    alice, carol = await stage.friends("alice", "carol")
    async with (
        stage.client(alice, "desk") as desk,
        stage.client(alice, "mobile") as mobile,
        stage.client(carol) as carols,
    ):
        carols.say(f"{alice.address}/mobile", "only there")
        await mobile.hears("only there")
        carols.say(alice.address, "everywhere")
        await desk.hears("everywhere")
        assert [m["body"] for m in desk.messages.history if m["body"]] == ["everywhere"]


async def test_a_client_with_negative_priority_gets_no_chat(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with (
        stage.client(alice, "desk") as desk,
        stage.client(alice, "robot", initial_presence=False) as robot,
        stage.phone(bob) as phone,
    ):
        await robot.shown(priority=-1)
        await phone.message(alice.address, "for humans")
        await desk.hears("for humans")
        await robot.echo()
        assert [m for m in robot.messages.history if m["body"]] == []


async def test_she_is_online_until_the_last_one_leaves(stage: Stage) -> None:
    alice, bob, carol = await stage.friends("alice", "bob", "carol")
    async with stage.phone(bob) as bobs, stage.client(carol) as carols, stage.phone(alice) as phone:
        watch = await bobs.subscribe(alice.address)
        assert not reachable(await watch.state("active"))

        desk = stage.client(alice, "desk")
        await desk.login()
        await carols.online(alice.address)
        await watch.notified("alice at her desk", reachable)

        mobile = stage.client(alice, "mobile")
        await mobile.login()
        await carols.presence("her mobile", lambda p: p["from"].full == f"{alice.address}/mobile")
        await phone.register()
        await carols.presence(
            "her phone",
            lambda p: p["from"].bare == alice.address and p["from"].resource not in ("desk", "mobile"),
        )
        watch.notifies.forget()

        await desk.close()
        await carols.presence(
            "the desk gone", lambda p: p["from"].full == desk.full and p["type"] == "unavailable"
        )
        without = await watch.notified(
            "no desk", lambda n: not any("desk" in t.id for t in read_pidf(n.body))
        )
        assert reachable(without)

        await mobile.close()
        await carols.presence(
            "the mobile gone", lambda p: p["from"].full == mobile.full and p["type"] == "unavailable"
        )
        without = await watch.notified(
            "no mobile", lambda n: not any("mobile" in t.id for t in read_pidf(n.body))
        )
        assert reachable(without)

        await phone.unregister()
        await watch.notified("alice gone", lambda n: not reachable(n))
        await carols.presence(
            "her phone gone",
            lambda p: (
                p["from"].bare == alice.address
                and p["type"] == "unavailable"
                and p["from"].resource not in ("desk", "mobile")
            ),
        )
