"""The whole door, by phones over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.sip.house import ALICE, BOB, House, open_house


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
async def test_a_phone_registers_and_is_seen(house: House, transport: str, host: str) -> None:
    async with house.phone(BOB, transport, host=host) as phone:
        response = await phone.register()
        assert response.status == 200
        assert phone.contact.strip("<>") in response["Contact"]
        assert (await house.seen(BOB)).online
        assert (await phone.unregister()).status == 200
        assert not (await house.seen(BOB)).online


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
async def test_messages_cross_both_ways(house: House, transport: str) -> None:
    await house.desk(ALICE)
    async with house.phone(BOB, transport) as phone:
        await phone.register()
        assert (await phone.message("alice@example.org", "héllo <you> 🎉\nsecond")).status == 200
        (message,) = await house.heard()
        assert message.bodies[0].text == "héllo <you> 🎉\nsecond"
        assert message.sender == BOB
        assert message.sender_endpoint.startswith("sip:phone-")
        await house.say(ALICE, BOB, "hî")
        request = await phone.hears("hî")
        assert request["From"].startswith("<sip:alice@example.org>;tag=")


async def test_a_subscription_follows_the_other_side(house: House) -> None:
    await house.befriend(ALICE, BOB)
    await house.desk(ALICE)
    async with house.phone(BOB) as phone:
        watch = await phone.subscribe("alice@example.org")
        assert watch.response.status == 200
        first = await watch.state("active")
        assert 'id="ID-desk"' in first.text
        await house.leave(ALICE)
        last = await watch.state("active")
        assert "closed" in last.text
        assert (await watch.end()).status == 200
        await watch.state("terminated;reason=timeout")
