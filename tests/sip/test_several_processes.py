"""Subscriptions of a phone that reaches another process than before (RFC 6665 §4.2.1.1)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from presence.address import Address
from presence.model import Snapshot, Text
from presence.ports import EndpointKind, RecordTaken
from presence.subscriptions import Act
from sip.subscription import RECORD
from sip.words import Stray, Strays, encode
from tests.sip.house import ALICE, BOB, CAROL, PASSWORD, House, open_house
from tests.support.sipclient import Phone, Watch
from tests.support.waiting import until

HER = "alice@example.org"


@pytest.fixture
async def houses(tmp_path: Path) -> AsyncIterator[tuple[House, House]]:
    async with open_house(tmp_path) as one, one.second() as other:
        await one.befriend(ALICE, BOB)
        await one.desk(ALICE)
        yield one, other


async def move(phone: Phone, house: House) -> None:
    """Its packets come out at another process."""
    phone.close()
    phone.server = (phone.server[0], house.ports[phone.transport])
    await phone.connect()


async def kept_by(house: House) -> set[str]:
    return {key for key in await house.bus.records(house.node) if key.startswith(RECORD)}


async def watched(phone: Phone) -> Watch:
    watch = await phone.subscribe(HER)
    await watch.state("active")
    return watch


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls", "ws"])
async def test_a_refresh_is_answered_there_and_notified_from_there(
    houses: tuple[House, House], transport: str
) -> None:
    one, other = houses
    async with one.phone(BOB, transport) as phone:
        watch = await watched(phone)
        before = watch.notifies.history[-1]
        await move(phone, other)
        again = await watch.refresh(300)
        assert (again.status, again["Expires"]) == (200, "300")
        after = await watch.state("active")
        assert after.cseq[0] > before.cseq[0]
        assert after["From"] == before["From"]
        await one.desk(ALICE, notes=(Text("over there"),))
        await watch.notified("over there", lambda n: "over there" in n.text)
        assert (len(await kept_by(one)), len(await kept_by(other))) == (0, 1)


async def test_only_one_process_notifies(houses: tuple[House, House]) -> None:
    one, other = houses
    async with one.phone(BOB) as phone:
        watch = await watched(phone)
        await move(phone, other)
        await watch.refresh()
        await watch.state("active")
        door = one.door
        assert door is not None
        await until("it has let go", lambda: all(s["kind"] != "sip dialog" for s in door.sessions()), 5)
        await one.desk(ALICE, notes=(Text("once"),))
        await watch.notified("once", lambda n: "once" in n.text)
        await one.desk(ALICE, notes=(Text("twice"),))
        await watch.notified("twice", lambda n: "twice" in n.text)
        assert len([n for n in watch.notifies.history if "once" in n.text]) == 1


async def test_it_is_ended_there(houses: tuple[House, House]) -> None:
    one, other = houses
    async with one.phone(BOB, "tcp") as phone:
        watch = await watched(phone)
        await move(phone, other)
        assert (await watch.end()).status == 200
        last = await watch.state("terminated;reason=timeout")
        assert "<tuple" in last.text
        assert (await watch.refresh()).status == 481
        assert (await kept_by(one), await kept_by(other)) == (set(), set())


async def test_when_the_process_died_the_refresh_goes_on_in_another(houses: tuple[House, House]) -> None:
    one, other = houses
    async with one.phone(BOB, "tcp") as phone:
        watch = await watched(phone)
        await one.stop()
        await one.bus.sweep(one.node, None, time.time())
        await move(phone, other)
        await other.desk(ALICE, notes=(Text("meanwhile"),))
        assert (await watch.refresh()).status == 200
        await watch.notified("meanwhile", lambda n: "meanwhile" in n.text)
        await one.start()
        assert (len(await kept_by(one)), len(await kept_by(other))) == (0, 1)
        await one.desk(ALICE, notes=(Text("afterwards"),))
        await watch.notified("afterwards", lambda n: "afterwards" in n.text)


async def test_it_comes_back(houses: tuple[House, House]) -> None:
    one, other = houses
    async with one.phone(BOB, "tcp") as phone:
        watch = await watched(phone)
        for house in (other, one, other, one):
            await move(phone, house)
            assert (await watch.refresh()).status == 200
            await watch.state("active")
        # What one was told of it long ago is no reason to forget it now.
        one.bus.post(one.node, RecordTaken(key=next(iter(await kept_by(one)))))
        await one.desk(ALICE, notes=(Text("at home"),))
        await watch.notified("at home", lambda n: "at home" in n.text)


async def test_what_was_denied_while_nobody_held_it_ends(houses: tuple[House, House]) -> None:
    one, other = houses
    async with one.phone(BOB, "tcp") as phone:
        watch = await watched(phone)
        await one.stop()
        await other.other.act(ALICE, BOB, Act.UNSUBSCRIBED)
        await move(phone, other)
        await watch.refresh()
        assert (await watch.state("terminated;reason=rejected")).body == b""


async def test_nobody_takes_anothers(houses: tuple[House, House]) -> None:
    one, other = houses
    async with one.phone(BOB, "tcp") as phone, other.phone(CAROL, "tcp") as thief:
        watch = await watched(phone)
        contact = [("Event", "presence"), ("Contact", thief.contact)]
        stolen = await thief.request(
            "SUBSCRIBE",
            watch.target,
            contact,
            from_=watch.local.replace("bob", "carol"),
            to=watch.remote,
        )
        assert stolen.status == 481
        assert (len(await kept_by(one)), await kept_by(other)) == (1, set())


async def test_a_list_and_its_members_go_along(houses: tuple[House, House]) -> None:
    one, other = houses
    async with one.phone(BOB, "tcp") as phone:
        watch = await phone.subscribe(
            "buddies@example.org", Supported="eventlist", Accept="multipart/related, application/rlmi+xml"
        )
        await watch.state("active")
        await move(phone, other)
        assert (await watch.refresh()).status == 200
        full = await watch.state("active")
        assert 'fullState="true"' in full.text
        await one.desk(ALICE, notes=(Text("in the list"),))
        await watch.notified("in the list", lambda n: "in the list" in n.text)


class Unreachable(Phone):
    """Writes an address nobody can reach, as some phones do."""

    @property
    def contact(self) -> str:
        return "<sip:bob@192.0.2.2:5060;transport=tcp>"


def a_phone(house: House) -> Unreachable:
    return Unreachable(str(BOB), PASSWORD, ("127.0.0.1", house.ports["tcp"]), "tcp")


async def test_a_phone_that_registers_at_another_process_is_notified_there(
    houses: tuple[House, House],
) -> None:
    one, other = houses
    async with a_phone(one) as phone:
        await phone.register()
        watch = await watched(phone)
        phone.close()
        await one.until_seen(BOB, online=False)
        await move(phone, other)
        await one.desk(ALICE, notes=(Text("meanwhile"),))
        await phone.register()
        await watch.notified("meanwhile", lambda n: "meanwhile" in n.text)
        assert (len(await kept_by(one)), len(await kept_by(other))) == (0, 1)
        assert (await watch.refresh()).status == 200


async def test_a_phone_that_was_quicker_than_its_process_is_notified_where_it_is(
    houses: tuple[House, House],
) -> None:
    one, other = houses
    async with a_phone(one) as phone:
        await phone.register()
        watch = await watched(phone)
        await one.stop()
        await one.bus.sweep(one.node, None, time.time())
        await move(phone, other)
        await phone.register()
        await other.desk(ALICE, notes=(Text("meanwhile"),))
        await one.start()
        await watch.notified("meanwhile", lambda n: "meanwhile" in n.text)
        assert (len(await kept_by(one)), len(await kept_by(other))) == (0, 1)


async def test_another_phone_of_the_same_watcher_does_not_take_it_away(houses: tuple[House, House]) -> None:
    one, other = houses
    async with a_phone(one) as phone, other.phone(BOB, "tcp") as desk:
        await phone.register()
        watch = await watched(phone)
        phone.close()
        await one.until_seen(BOB, online=False)
        await desk.register()
        await one.until_seen(BOB, online=True)
        await move(phone, one)
        await one.desk(ALICE, notes=(Text("meanwhile"),))
        await phone.register()
        await watch.notified("meanwhile", lambda n: "meanwhile" in n.text)
        assert len(await kept_by(one)) == 1


async def test_who_is_asked_for_it_twice_says_nothing_before_it_knows_what(
    houses: tuple[House, House], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that has lost it asks around when it is lost, and when its phone has come somewhere."""
    one, other = houses
    watching, taken, may_watch = 0, 0, asyncio.Event()
    watch_now, take_now = one.bus.watch, one.bus.take_record

    async def slow(node: str, addresses: Sequence[Address], now: float) -> list[Snapshot]:
        nonlocal watching
        watching += 1
        await may_watch.wait()
        return await watch_now(node, addresses, now)

    async def counted(node: str, key: str) -> bytes | None:
        nonlocal taken
        taken += 1
        return await take_now(node, key)

    async with a_phone(one) as phone:
        await phone.register()
        watch = await watched(phone)
        phone.close()
        await one.until_seen(BOB, online=False)
        await one.desk(ALICE, notes=(Text("meanwhile"),))
        monkeypatch.setattr(one.bus, "watch", slow)
        monkeypatch.setattr(one.bus, "take_record", counted)
        await move(phone, other)
        await phone.register()
        await until("it takes it over", lambda: watching == 1, 5)
        (key,) = await kept_by(other)
        target = phone.contact.strip("<>")
        before = taken
        await other.other.say(EndpointKind.SIP, encode(Strays((Stray(key, BOB, target),))))
        await until("it is asked again", lambda: taken > before, 5)
        for _ in range(20):
            await asyncio.sleep(0)
        may_watch.set()
        await watch.notified("meanwhile", lambda n: "meanwhile" in n.text)
        assert all(n.body for n in watch.notifies.history)
