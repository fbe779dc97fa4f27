"""presence/edge/batches.py: calls of one loop turn are one command, and each has its own fate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from presence.edge.batches import Batches
from presence.edge.link import Link
from presence.edge.redis import RedisBus
from presence.edge.server import Server
from presence.errors import Refused, Unavailable
from presence.messages import Accepted, Delivery
from presence.ports import Deliver
from tests.support.buses import ALICE, BOB, LAPTOP, delivered, endpoint, inbox, message, put

NOW = 1_800_000_000.0


@pytest.fixture
async def bus(valkey: str) -> AsyncIterator[RedisBus]:
    async with RedisBus(valkey) as bus:
        await bus.command("FLUSHALL")
        await put(bus, NOW, LAPTOP)
        yield bus


async def calls(bus: RedisBus, command: str = "fcall") -> int:
    for line in (await bus.command("INFO", "commandstats")).splitlines():
        if line.startswith(b"cmdstat_%s:calls=" % command.encode()):
            return int(line.partition(b"=")[2].partition(b",")[0])
    return 0


async def test_submissions_of_one_turn_are_one_call_and_one_entry_in_order(bus: RedisBus) -> None:
    before = await calls(bus)
    names = [f"m{number}" for number in range(10)]
    submissions = await asyncio.gather(*(bus.submit(message(name), NOW) for name in names))
    assert {each.accepted for each in submissions} == {Accepted.LIVE}
    assert await calls(bus) == before + 1
    assert await bus.command("XLEN", "t:inbox:xmpp-1") == 1
    assert [name for name, _, _ in await delivered(bus, "xmpp-1")] == names


async def test_more_than_one_call_takes_keep_their_order(bus: RedisBus) -> None:
    names = [f"m{number:03}" for number in range(200)]
    await asyncio.gather(*(bus.submit(message(name), NOW) for name in names))
    assert [name for name, _, _ in await delivered(bus, "xmpp-1")] == names
    assert [waiting["id"] for waiting in (await bus.inspect(ALICE, NOW))["pending"]] == names


async def test_what_goes_wrong_with_one_does_not_concern_the_others(bus: RedisBus) -> None:
    await bus.command("SET", "t:{bob@example.org}:pending", "not a hash")
    good, bad, also_good = await asyncio.gather(
        bus.submit(message("m1"), NOW),
        bus.submit(message("m2", recipient=BOB), NOW),
        bus.submit(message("m3"), NOW),
        return_exceptions=True,
    )
    assert not isinstance(good, BaseException)
    assert not isinstance(also_good, BaseException)
    assert (good.accepted, also_good.accepted) == (Accepted.LIVE, Accepted.LIVE)
    assert isinstance(bad, Unavailable)
    assert "WRONGTYPE" in str(bad)


async def test_nothing_overtakes_what_was_called_before_it(bus: RedisBus) -> None:
    first = asyncio.ensure_future(bus.submit(message("m1"), NOW))
    await asyncio.sleep(0)
    length = asyncio.ensure_future(bus.command("HLEN", "t:{alice@example.org}:pending"))
    await asyncio.sleep(0)
    second = asyncio.ensure_future(bus.submit(message("m2"), NOW))
    await asyncio.gather(first, second)
    assert await length == 1


async def test_settlements_of_one_turn_are_one_call(bus: RedisBus) -> None:
    names = [f"m{number}" for number in range(5)]
    await asyncio.gather(*(bus.submit(message(name), NOW) for name in names))
    before = await calls(bus)
    settled = await asyncio.gather(
        *(bus.settle(ALICE, name, "xmpp:laptop", Delivery.DELIVERED, NOW) for name in [*names, "unknown"])
    )
    assert [each.done for each in settled] == [True] * 5 + [False]
    assert await calls(bus) == before + 1


async def test_what_was_owed_to_one_alone_is_not_looked_up_when_it_is_delivered(bus: RedisBus) -> None:
    await bus.submit(message("m1"), NOW)
    (alone,) = await inbox(bus, "xmpp-1")
    assert isinstance(alone, Deliver)
    assert alone.sole
    await put(bus, NOW, endpoint("xmpp:desk"))
    await bus.submit(message("m2"), NOW)
    (shared,) = await inbox(bus, "xmpp-1")
    assert isinstance(shared, Deliver)
    assert not shared.sole
    looked_up = await calls(bus, "hget")
    told: list[Unavailable | None] = []
    bus.delivered(ALICE, "m1", "xmpp:laptop", NOW, told.append)
    await bus.ping()
    assert (await calls(bus, "hget"), told) == (looked_up, [None])
    assert [waiting["id"] for waiting in (await bus.inspect(ALICE, NOW))["pending"]] == ["m2"]
    bus.delivered(ALICE, "m2", "xmpp:laptop", NOW, told.append)
    await bus.ping()
    assert await calls(bus, "hget") == looked_up + 1
    assert [waiting["id"] for waiting in (await bus.inspect(ALICE, NOW))["pending"]] == ["m2"]


async def test_what_was_owed_to_one_alone_and_then_to_others_is_looked_up(bus: RedisBus) -> None:
    await bus.submit(message("m1"), NOW)
    await inbox(bus, "xmpp-1")
    await bus.settle(ALICE, "m1", "xmpp:laptop", Delivery.UNREACHABLE, NOW)
    await put(bus, NOW, endpoint("xmpp:desk"), endpoint("xmpp:sofa"))
    assert await delivered(bus, "xmpp-1") == [("m1", ("xmpp:desk", "xmpp:sofa"), True)]
    bus.delivered(ALICE, "m1", "xmpp:desk", NOW, lambda _: None)
    await bus.ping()
    assert [waiting["id"] for waiting in (await bus.inspect(ALICE, NOW))["pending"]] == ["m1"]
    bus.delivered(ALICE, "m1", "xmpp:sofa", NOW, lambda _: None)
    await bus.ping()
    assert (await bus.inspect(ALICE, NOW))["pending"] == []


async def test_many_of_one_call_for_one_person_are_bounded_as_if_they_came_alone(valkey: str) -> None:
    async with RedisBus(valkey, pending_limit=3) as bus:
        await bus.command("FLUSHALL")
        outcomes = await asyncio.gather(
            *(bus.submit(message(f"m{number}"), NOW) for number in range(5)), return_exceptions=True
        )
        assert [isinstance(each, Refused) for each in outcomes] == [False] * 3 + [True] * 2


async def test_whoever_comes_when_a_batch_was_given_up_is_answered_too() -> None:
    """In another one: that one is sent no more."""
    link = Link(Server(path="/nonexistent/bus"), name="test", patience=0.1)
    batches = Batches(link, lambda now: ("submit", now))
    with pytest.raises(Unavailable):
        await link.start()
    for _ in range(2):
        async with asyncio.timeout(10):
            with pytest.raises(Unavailable):
                await batches.call(NOW, "key")
    await link.close()
    for _ in range(2):
        async with asyncio.timeout(10):
            with pytest.raises(Unavailable, match="closed"):
                await batches.call(NOW, "key")
