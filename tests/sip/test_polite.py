"""Who is blocked is not told so (RFC 5025 §3.2.1, polite-block): they see somebody who is never there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from presence.model import Show, Text
from presence.orders import Handling, Order
from presence.privacy import NOTHING, Grant
from presence.subscriptions import Act
from tests.sip.house import ALICE, BOB, CAROL, House, open_house
from tests.support.pidf import read_pidf
from tests.support.sipclient import Watch
from tests.support.sipwire import SipMessage

HER = str(ALICE)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        yield opened


def nobody(notify: SipMessage) -> bool:
    return [seen.open for seen in read_pidf(notify.body)] == [False]


async def silent(house: House, watch: Watch) -> None:
    """Nothing more has come, though a whole turn has gone by."""
    count = len(watch.notifies.history)
    await watch.phone.request("OPTIONS", "sip:example.org")
    assert len(watch.notifies.history) == count


async def test_a_new_watcher_who_is_blocked_sees_somebody_offline_for_ever(house: House) -> None:
    await house.befriend(ALICE, BOB)
    await house.desk(ALICE, notes=(Text("secret"),))
    await house.other.blocking.block(ALICE, [str(BOB)])
    async with house.phone(BOB) as phone:
        watch = await phone.subscribe(HER)
        assert watch.response.status == 200
        assert nobody(await watch.state("active"))
        await house.desk(ALICE, notes=(Text("another secret"),))
        await silent(house, watch)
        fetched = await phone.subscribe(HER, expires=0)
        assert nobody(await fetched.state("terminated;reason=timeout"))
        assert (await watch.refresh()).status == 200
        assert nobody(await watch.state("active"))


async def test_a_watcher_who_becomes_blocked_sees_her_leave_and_come_back_when_it_is_over(
    house: House,
) -> None:
    await house.befriend(ALICE, BOB)
    await house.desk(ALICE, notes=(Text("here"),))
    async with house.phone(BOB) as phone:
        watch = await phone.subscribe(HER)
        assert "here" in (await watch.state("active")).text
        await house.other.blocking.block(ALICE, [str(BOB)])
        assert nobody(await watch.state("active"))
        await house.desk(ALICE, notes=(Text("secret"),))
        await silent(house, watch)
        await house.stop()
        await house.desk(ALICE, notes=(Text("secret again"),))
        await house.start()
        assert nobody(await watch.state("active"))
        await house.other.blocking.unblock(ALICE, [str(BOB)])
        assert "secret again" in (await watch.state("active")).text


async def test_a_request_that_is_blocked_is_granted_as_far_as_anybody_can_see(house: House) -> None:
    await house.desk(ALICE, notes=(Text("secret"),))
    async with house.phone(CAROL) as phone:
        watch = await phone.subscribe(HER)
        await watch.state("pending")
        await house.other.blocking.block(ALICE, [str(CAROL)])
        assert nobody(await watch.state("active"))


async def test_lamps_and_lists_show_nothing_of_it_either(house: House) -> None:
    await house.befriend(ALICE, BOB)
    await house.desk(ALICE, show=Show.DND)
    await house.other.blocking.block(ALICE, [str(BOB)])
    async with house.phone(BOB, "tcp") as phone:
        lamp = await phone.subscribe(HER, event="dialog", Accept="application/dialog-info+xml")
        assert "<state>terminated</state>" in (await lamp.state("active")).text
        fields: dict[str, Any] = {"Supported": "eventlist", "Accept": "multipart/related"}
        listed = (await (await phone.subscribe("buddies@example.org", **fields)).state("active")).text
        assert 'state="active" cid=' in listed
        assert "<basic>closed</basic>" in listed


async def test_a_rule_for_everybody_may_be_polite_as_well(house: House) -> None:
    await house.desk(ALICE)
    await house.other.orders.give(ALICE, (Order(Handling.POLITE_BLOCK),))
    async with house.phone(CAROL) as phone:
        assert nobody(await (await phone.subscribe(HER)).state("active"))
        assert not (await house.store.item(ALICE, CAROL)).pending_in


async def test_where_it_is_not_polite_it_is_403_and_an_end(house: House) -> None:
    await house.stop()
    house.polite = False
    await house.start()
    await house.befriend(ALICE, BOB)
    async with house.phone(BOB) as phone:
        watch = await phone.subscribe(HER)
        await watch.state("active")
        await house.other.blocking.block(ALICE, [str(BOB)])
        assert (await watch.state("terminated;reason=rejected")).body == b""
        assert (await phone.subscribe(HER)).response.status == 403


@pytest.mark.parametrize("operator", [True, False])
async def test_a_rule_that_names_them_says_whether_they_are_told(tmp_path: Path, operator: bool) -> None:
    async with open_house(tmp_path) as house:
        await house.stop()
        house.polite = operator
        await house.start()
        await house.desk(ALICE)
        for who, handling in ((BOB, Handling.BLOCK), (CAROL, Handling.POLITE_BLOCK)):
            await house.other.blocking.block(ALICE, [str(who)])
            grants = (Grant(handling, NOTHING, (str(who),)),)
            await house.other.privacy.give(ALICE, grants)
            async with house.phone(who) as phone:
                watch = await phone.subscribe(HER)
                assert watch.response.status == (403 if handling is Handling.BLOCK else 200)


async def test_a_denial_is_told_as_ever(house: House) -> None:
    await house.befriend(ALICE, BOB)
    async with house.phone(BOB) as phone:
        watch = await phone.subscribe(HER)
        await watch.state("active")
        await house.other.act(ALICE, BOB, Act.UNSUBSCRIBED)
        await watch.state("terminated;reason=rejected")
