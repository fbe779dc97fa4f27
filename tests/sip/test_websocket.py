"""SIP over WebSocket (RFC 7118), by phones as they live in browsers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin, Subprotocol

from tests.sip.house import ALICE, BOB, House, open_house

SIP = [Subprotocol("sip")]
OPTIONS = (
    "OPTIONS sip:example.org SIP/2.0\r\nVia: SIP/2.0/WS a.invalid;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n"
    "From: <sip:bob@example.org>;tag=1\r\nTo: <sip:example.org>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\r\n"
)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path, web_origins=("https://phone.example.org",)) as opened:
        yield opened


def url(house: House, path: str = "/sip") -> str:
    return f"ws://127.0.0.1:{house.ports['ws']}{path}"


async def test_a_phone_in_a_browser_registers_watches_and_is_watched(house: House) -> None:
    await house.befriend(ALICE, BOB)
    await house.desk(ALICE)
    async with house.phone(BOB, "ws") as phone:
        registered = await phone.register()
        assert registered.status == 200
        assert registered["Via"].startswith("SIP/2.0/WS p")
        assert ".invalid" in registered["Contact"]
        assert (await house.seen(BOB)).online
        watch = await phone.subscribe(str(ALICE))
        assert "transport=ws" in watch.response["Contact"]
        notified = await watch.state("active")
        assert notified["Via"].startswith("SIP/2.0/WS 127.0.0.1:")
        assert 'id="ID-desk"' in notified.text
        await house.leave(ALICE)
        assert "closed" in (await watch.state("active")).text


async def test_a_closed_browser_tab_is_no_phone_any_more(house: House) -> None:
    async with house.phone(BOB, "ws") as phone:
        await phone.register()
        phone.close()
        await house.until_seen(BOB, online=False)
        await house.say(ALICE, BOB, "later")
        assert await house.waiting(BOB) == [{}]


async def test_what_is_too_long_for_a_packet_goes_over_it(house: House) -> None:
    async with house.phone(BOB, "ws") as phone:
        await phone.register()
        await house.say(ALICE, BOB, "x" * 20_000)
        await phone.hears("x" * 20_000)


@pytest.mark.parametrize("path", ["/sip", "/ws", "/"])
async def test_every_path_phones_have_as_default_is_served(house: House, path: str) -> None:
    async with connect(url(house, path), subprotocols=SIP, proxy=None) as socket:
        assert socket.subprotocol == "sip"


async def test_keep_alives_are_answered_as_on_a_stream(house: House) -> None:
    async with connect(url(house), subprotocols=SIP, proxy=None) as socket:
        await socket.send("\r\n\r\n")
        assert await socket.recv() == "\r\n"


async def test_binary_frames_and_a_missing_length_are_understood(house: House) -> None:
    async with connect(url(house), subprotocols=SIP, proxy=None) as socket:
        await socket.send(OPTIONS.encode())
        assert str(await socket.recv()).startswith(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/WS a.invalid;branch=z9hG4bK1"
        )


async def test_what_is_no_sip_is_answered_or_dropped_and_the_connection_stays(house: House) -> None:
    async with connect(url(house), subprotocols=SIP, proxy=None) as socket:
        await socket.send("nonsense")
        await socket.send("\r\n\r\n")
        assert await socket.recv() == "\r\n"


async def test_a_frame_larger_than_any_message_ends_the_connection(house: House) -> None:
    async with connect(url(house), subprotocols=SIP, proxy=None) as socket:
        await socket.send("x" * 70_000)
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


async def test_without_the_subprotocol_nobody_is_let_in(house: House) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await connect(url(house), proxy=None)
    assert refused.value.response.status_code == 400


@pytest.mark.parametrize(
    ("origin", "status"), [("https://Phone.example.org", 101), ("https://evil.example", 403)]
)
async def test_pages_of_other_origins_may_be_kept_out(house: House, origin: str, status: int) -> None:
    try:
        async with connect(url(house), origin=Origin(origin), subprotocols=SIP, proxy=None) as socket:
            assert socket.response is not None
            heard = socket.response.status_code
    except InvalidStatus as refused:
        heard = refused.response.status_code
    assert heard == status


async def test_one_address_cannot_take_all_connections(tmp_path: Path) -> None:
    async with open_house(tmp_path, max_connections_per_address=1) as house, house.phone(BOB, "ws"):
        with pytest.raises(InvalidStatus) as refused:
            await connect(url(house), subprotocols=SIP, proxy=None)
        assert refused.value.response.status_code == 503


async def test_limits_hold_for_who_is_behind_a_proxy_and_not_for_this_machine(tmp_path: Path) -> None:
    async with open_house(tmp_path, requests_per_address=0.1) as house:

        async def asked(**told: str) -> list[str]:
            headers = {name.replace("_", "-"): value for name, value in told.items()}
            heard = []
            async with connect(
                url(house), subprotocols=SIP, proxy=None, additional_headers=headers
            ) as socket:
                for number in range(4):
                    await socket.send(OPTIONS.replace("z9hG4bK1", f"z9hG4bK{number}"))
                    heard.append(str(await socket.recv()).split(" ")[1])
            return heard

        assert await asked() == ["200"] * 4
        assert await asked(X_Forwarded_For="192.0.2.7") == ["200"] * 2 + ["503"] * 2
        assert await asked(X_Forwarded_For="192.0.2.7") == ["503"] * 4
        assert await asked(X_Forwarded_For="192.0.2.8") == ["200"] * 2 + ["503"] * 2
        assert await asked(X_Forwarded_Proto="https") == ["200"] * 2 + ["503"] * 2
