"""The door when the world around it fails or changes: bus away, drain, idle and stuck peers, reload."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from presence.address import Address
from presence.errors import Unavailable
from presence.memory import MemoryBus
from presence.messages import InstantMessage
from presence.model import Snapshot
from presence.ports import Cell, Committed, Submission, Update
from sip.edge.listener import Listener
from sip.server import SipServer
from tests.sip.house import ALICE, BOB, House, certify, open_house
from tests.support.pidf import pidf
from tests.support.sipclient import SilentServer
from tests.support.trust import trusting

HER = "alice@example.org"


class FickleBus(MemoryBus):
    """A bus that cannot be reached while `away`."""

    away = False

    def _reach(self) -> None:
        if self.away:
            raise Unavailable("connection refused")

    async def commit(self, address: Address, update: Update, now: float, trace: str = "") -> Committed:
        self._reach()
        return await super().commit(address, update, now, trace)

    async def cell(self, address: Address, name: str) -> Cell:
        self._reach()
        return await super().cell(address, name)

    async def snapshots(self, addresses: Sequence[Address], now: float) -> list[Snapshot]:
        self._reach()
        return await super().snapshots(addresses, now)

    async def watch(self, node: str, addresses: Sequence[Address], now: float) -> list[Snapshot]:
        self._reach()
        return await super().watch(node, addresses, now)

    async def submit(
        self, message: InstantMessage, now: float, dedup: str = "", through: Address | None = None
    ) -> Submission:
        self._reach()
        return await super().submit(message, now, dedup, through)


async def test_while_the_bus_is_away_nothing_is_promised_and_the_service_goes_on(tmp_path: Path) -> None:
    bus = FickleBus()
    async with open_house(tmp_path, bus=bus) as house, house.phone(BOB) as phone:
        bus.away = True
        answers = [
            await phone.register(),
            await phone.publish(pidf(str(BOB))),
            (await phone.subscribe(HER)).response,
            await phone.message(HER, "hello"),
        ]
        assert [answer.status for answer in answers] == [500, 504, 500, 500]
        assert all(answer["Retry-After"] for answer in answers)
        assert (await phone.request("OPTIONS", "sip:example.org")).status == 200
        bus.away = False
        assert (await phone.register()).status == 200
        assert (await phone.message(HER, "hello again")).status == 202
        assert (await phone.subscribe(HER)).response.status == 200


async def test_a_stopping_door_waits_for_the_answer_to_what_it_sent(tmp_path: Path) -> None:
    async with open_house(tmp_path, drain_timeout=10.0) as house, house.phone(BOB) as phone:
        await phone.register()
        phone.answers["MESSAGE"] = None
        await house.say(ALICE, BOB, "wait for me")
        request = await phone.hears("wait for me")
        stopping = asyncio.create_task(house.stop())
        late = await phone.request("OPTIONS", "sip:example.org")
        assert (late.status, late["Retry-After"]) == (503, "5")
        assert not stopping.done()
        phone.answers.pop("MESSAGE")
        phone._answered.clear()  # the retransmission is answered now
        await phone.received("MESSAGE", "it again", lambda m: m.branch == request.branch)
        await stopping
        assert await house.waiting(BOB) == []


async def test_a_stopping_door_does_not_wait_for_ever(tmp_path: Path) -> None:
    async with open_house(tmp_path, drain_timeout=0.05) as house, house.phone(BOB) as phone:
        await phone.register()
        phone.answers["MESSAGE"] = None
        await house.say(ALICE, BOB, "never answered")
        await phone.hears("never answered")
        await house.stop()
        assert len(await house.waiting(BOB)) == 1


def insides(house: House) -> tuple[Listener, SipServer]:
    assert house.door is not None
    assert house.door._listener is not None
    assert house.door._server is not None
    return house.door._listener, house.door._server


async def test_a_silent_stranger_is_hung_up_on_and_a_registered_phone_is_not(tmp_path: Path) -> None:
    async with (
        open_house(tmp_path) as house,
        house.phone(BOB, "tcp") as phone,
        house.phone(BOB, "tcp") as stranger,
    ):
        await phone.register()
        await stranger.request("OPTIONS", "sip:example.org")
        listener, server = insides(house)
        for _, connection in listener.connections():
            connection.heard -= 3600.0
        listener.close_idle(server.patience)
        with pytest.raises(SilentServer):
            await stranger.request("OPTIONS", "sip:example.org", patience=5)
        assert (await phone.request("OPTIONS", "sip:example.org")).status == 200


async def test_a_peer_that_does_not_read_is_cut_off(tmp_path: Path) -> None:
    async with open_house(tmp_path, max_outbound=65_536) as house:
        with socket.create_connection(("127.0.0.1", house.ports["tcp"])) as stuck:
            stuck.setblocking(False)
            async with house.phone(BOB) as phone:
                await phone.register()
                listener, _ = insides(house)
                ((flow, _),) = listener.connections()
                sent = 0
                while listener.send(flow, b"x" * 65_536):
                    sent += 65_536
                    await asyncio.sleep(0)
                    assert sent < 100_000_000
                await asyncio.sleep(0)
                assert not listener.alive(flow)
                assert (await phone.request("OPTIONS", "sip:example.org")).status == 200


async def test_a_renewed_certificate_is_shown_and_a_broken_one_is_not(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        assert house.door is not None

        async def shown() -> bytes:
            _, writer = await asyncio.open_connection("127.0.0.1", house.ports["tls"], ssl=trusting())
            certificate: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            writer.close()
            return certificate

        before = await shown()
        certify(tmp_path)
        await house.door.reload()
        after = await shown()
        assert after != before
        (tmp_path / "cert.pem").write_text("nonsense")
        await house.door.reload()
        assert await shown() == after
