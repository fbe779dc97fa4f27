"""presence/rooms/ports.py: what `RoomBus` promises, held by the one in memory and the one on Valkey alike."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from presence.address import Address
from presence.edge.codec import decode_message
from presence.edge.redis import RedisBus
from presence.edge.rooms import RedisRooms
from presence.errors import Condition, Refused
from presence.memory import MemoryBus
from presence.ports import Bus
from presence.rooms.events import Entered, Event, Said
from presence.rooms.memory import MemoryRooms
from presence.rooms.model import Affiliated, Affiliation, Delta, Role
from presence.rooms.ports import Creation, Listed, Recall, RoomBus, RoomChanged, Write
from tests.support.buses import Clock, inbox
from tests.support.rooms import ALICE, BOB, NOW, TEA, head, occupant, said

ARCHIVE_LIMIT = 3
NOTHING = Delta()


@dataclass
class Both:
    bus: Bus
    rooms: RoomBus
    clock: Clock


@pytest.fixture(params=["memory", "redis"])
async def both(request: pytest.FixtureRequest, valkey: str) -> AsyncIterator[Both]:
    clock = Clock(NOW)
    if request.param == "memory":
        memory = MemoryBus(clock=clock, archive_limit=ARCHIVE_LIMIT)
        yield Both(memory, MemoryRooms(memory, clock), clock)
        return
    async with RedisBus(valkey, clock=clock, archive_limit=ARCHIVE_LIMIT) as redis:
        await redis._call("FLUSHALL")
        yield Both(redis, RedisRooms(redis), clock)


def write(
    version: int, previous: int, delta: Delta = NOTHING, events: tuple[Event, ...] = (), **more: Any
) -> Write:
    envelope = RoomChanged(
        room=TEA,
        version=version,
        previous=previous,
        mark=f"m{version}",
        delta=delta,
        events=events,
    )
    return Write(envelope=envelope, **more)


MADE = Delta(
    head=head(),
    occupants=(occupant(role=Role.MODERATOR),),
    affiliated=(Affiliated(ALICE, Affiliation.OWNER),),
)
CREATION = Creation(ALICE, 10, 10)
LISTED = Listed(room=TEA, name="Tea", occupants=1)


async def make(both: Both, **more: Any) -> None:
    usual: dict[str, Any] = {
        "nodes": ("xmpp-1",),
        "joined": ("xmpp-1",),
        "creation": CREATION,
        "listed": LISTED,
    }
    assert await both.rooms.write(write(1, 0, MADE, (Entered(nick="alice", token="alice"),), **usual | more))


async def envelopes(both: Both, node: str) -> list[RoomChanged]:
    return [each for each in await inbox(both.bus, node) if isinstance(each, RoomChanged)]


async def test_there_is_no_room_before_it_is_made(both: Both) -> None:
    reading = await both.rooms.read(TEA)
    assert (reading.room, reading.unsaved) == (None, False)


async def test_a_room_is_read_as_it_was_written(both: Both) -> None:
    await make(both)
    found = (await both.rooms.read(TEA)).room
    assert found is not None
    assert found.version == 1
    assert found.head == head()
    assert found.occupants == {"alice": occupant(role=Role.MODERATOR)}
    assert found.affiliation(ALICE) is Affiliation.OWNER


async def test_what_is_decided_on_an_older_version_does_not_happen(both: Both) -> None:
    await make(both)
    late = write(2, 0, Delta(occupants=(occupant(BOB),)), nodes=("xmpp-1",))
    assert not await both.rooms.write(late)
    assert len(await envelopes(both, "xmpp-1")) == 1
    found = (await both.rooms.read(TEA)).room
    assert found is not None
    assert list(found.occupants) == ["alice"]


async def test_a_step_changes_the_room_and_reaches_every_node_whole(both: Both) -> None:
    await make(both)
    entered = Entered(nick="bob", token="bob")
    delta = Delta(occupants=(occupant(BOB, node="xmpp-2"),))
    await both.rooms.write(write(2, 1, delta, (entered,), nodes=("xmpp-1", "xmpp-2"), joined=("xmpp-2",)))
    left = Delta(left=("alice",), affiliated=(Affiliated(ALICE),))
    await both.rooms.write(write(3, 2, left, nodes=("xmpp-1", "xmpp-2"), parted=("xmpp-1",)))
    first, second, third = await envelopes(both, "xmpp-1")
    assert (first.delta, first.mark) == (MADE, "m1")
    assert (second.delta, second.events, second.previous, second.version) == (delta, (entered,), 1, 2)
    assert third.delta == left
    assert await envelopes(both, "xmpp-2") == [second, third]
    found = (await both.rooms.read(TEA)).room
    assert found is not None
    assert (list(found.occupants), found.affiliated) == (["bob"], {})


async def test_a_nickname_may_change_hands_in_one_step(both: Both) -> None:
    await make(both)
    renamed = occupant(role=Role.MODERATOR, nick="ali")
    await both.rooms.write(write(2, 1, Delta(left=("alice",), occupants=(renamed,))))
    found = (await both.rooms.read(TEA)).room
    assert found is not None
    assert found.occupants == {"ali": renamed}


async def test_words_change_no_version(both: Both) -> None:
    await make(both)
    for name in ("m1", "m2"):
        event = Said(message=said(name=name))
        assert await both.rooms.write(write(1, 1, events=(event,), nodes=("xmpp-1",)))
    _, *heard = await envelopes(both, "xmpp-1")
    assert [each.events for each in heard] == [(Said(message=said(name=n)),) for n in ("m1", "m2")]


async def say(both: Both, name: str, limit: int = 20, **more: Any) -> None:
    await both.rooms.write(write(1, 1, history=said(name=name), history_limit=limit, **more))


async def recalled(both: Both, most: int = 100, since: float = 0.0) -> list[str]:
    recall = Recall("xmpp-2", most, since)
    await both.rooms.write(write(1, 1, nodes=("xmpp-1", "xmpp-2"), recall=recall))
    assert (await envelopes(both, "xmpp-1"))[-1].history == ()
    return [message.id for message in (await envelopes(both, "xmpp-2"))[-1].history]


async def test_whoever_enters_is_shown_what_was_said_in_order_and_nobody_else_is(both: Both) -> None:
    await make(both)
    assert await recalled(both) == []
    for number in range(20):
        await say(both, f"m{number}")
    assert await recalled(both) == [f"m{number}" for number in range(20)]
    assert await recalled(both, most=2) == ["m18", "m19"]
    assert await recalled(both, most=0) == []
    assert await recalled(both, since=NOW * 2) == []
    await say(both, "m20", limit=3)
    assert await recalled(both) == ["m18", "m19", "m20"]
    await say(both, "m21", limit=0)
    assert await recalled(both) == []


async def test_no_more_bytes_of_what_was_said_are_kept_than_may_be(both: Both) -> None:
    await make(both)
    for number in range(9):
        message = said("x" * 1000, f"m{number}")
        assert await both.rooms.write(write(1, 1, history=message, history_limit=100, history_bytes=10_000))
    kept = await recalled(both, most=100)
    assert kept[-1] == "m8"
    assert 5 <= len(kept) < 9
    for number in range(9, 30):
        await say(both, f"m{number}", limit=100)
    assert len(await recalled(both, most=100)) > 20
    huge = said("x" * 20_000, "huge")
    assert await both.rooms.write(write(1, 1, history=huge, history_limit=100, history_bytes=10_000))
    assert await recalled(both) == []
    await say(both, "small")
    assert await recalled(both) == ["small"]


async def test_what_is_struck_is_shown_to_nobody_any_more(both: Both) -> None:
    await make(both)
    for name in ("m1", "m2", "m3"):
        await say(both, name)
    await say(both, "m4", strike="m2")
    assert await recalled(both) == ["m1", "m3", "m4"]


async def test_what_is_to_be_archived_is_or_nothing_happens(both: Both) -> None:
    await make(both)
    for number in range(ARCHIVE_LIMIT):
        await say(both, f"m{number}", archived=said(name=f"m{number}"))
    waiting = [decode_message(each.message) for each in await both.bus.unarchived(10, 0)]
    assert waiting == [said(name=f"m{number}") for number in range(ARCHIVE_LIMIT)]
    with pytest.raises(Refused) as refusal:
        await say(both, "more", archived=said(name="more"))
    assert refusal.value.condition is Condition.RESOURCE_CONSTRAINT
    assert len(await recalled(both)) == ARCHIVE_LIMIT


async def test_rooms_are_counted_by_domain_and_by_creator(both: Both) -> None:
    await make(both)
    for creation in (Creation(BOB, 1, 10), Creation(ALICE, 10, 1)):
        other = Write(
            envelope=RoomChanged(
                room=BOB,
                version=1,
                previous=0,
                mark="",
                delta=MADE,
                events=(),
            ),
            creation=creation,
            listed=LISTED,
        )
        if creation.per_domain == 1:  # of the same domain
            envelope = RoomChanged(
                room=Address("coffee", TEA.domain),
                version=1,
                previous=0,
                mark="",
                delta=MADE,
                events=(),
            )
            other = Write(envelope=envelope, creation=creation, listed=LISTED)
        with pytest.raises(Refused) as refusal:
            await both.rooms.write(other)
        assert refusal.value.condition is Condition.RESOURCE_CONSTRAINT
    await both.rooms.write(write(2, 1, Delta(left=("alice",), gone=True), creator=ALICE))
    await make(both, creation=Creation(ALICE, 1, 1))


async def test_a_room_that_goes_leaves_nothing(both: Both) -> None:
    await make(both)
    await say(both, "m1")
    gone = Delta(left=("alice",), gone=True)
    await both.rooms.write(write(2, 1, gone, creator=ALICE, parted=("xmpp-1",), unsaved=True))
    reading = await both.rooms.read(TEA)
    assert (reading.room, reading.unsaved) == (None, True)
    assert await both.rooms.listing(TEA.domain) == []
    assert await both.rooms.inhabited("xmpp-1") == []
    await make(both)
    assert await recalled(both) == []


async def test_the_list_has_what_was_last_said_of_a_room(both: Both) -> None:
    await make(both)
    await both.rooms.write(write(2, 1, Delta(occupants=(occupant(BOB),))))
    assert await both.rooms.listing(TEA.domain) == [LISTED]
    hidden = Listed(room=TEA, public=False, occupants=2)
    await both.rooms.write(write(3, 2, Delta(head=head()), listed=hidden))
    assert await both.rooms.listing(TEA.domain) == [hidden]
    assert await both.rooms.listing("elsewhere.example") == []


async def test_rooms_of_a_node_are_found(both: Both) -> None:
    await make(both)
    assert await both.rooms.inhabited("xmpp-1") == [TEA]
    assert await both.rooms.inhabited("xmpp-2") == []
    await both.rooms.write(write(2, 1, Delta(left=("alice",)), joined=("xmpp-2",), parted=("xmpp-1",)))
    assert await both.rooms.inhabited("xmpp-1") == []
    assert await both.rooms.inhabited("xmpp-2") == [TEA]


async def test_what_the_database_has_to_be_told_is_remembered_until_it_was(both: Both) -> None:
    await make(both, unsaved=True)
    assert await both.rooms.unsaved() == [TEA]
    await both.rooms.write(write(2, 1, Delta(head=head()), unsaved=True))
    await both.rooms.saved(TEA, 1)
    assert await both.rooms.unsaved() == [TEA]
    await both.rooms.saved(TEA, 2)
    assert await both.rooms.unsaved() == []
