"""presence/rooms/service.py: several processes, one room; their ends; the database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from presence.edge.room_store import SqlRooms
from presence.errors import Condition, Refused, Unavailable
from presence.memory import MemoryBus
from presence.rooms.decisions import Bounds, Entry, Step, configure, destroy, leave, present, speak
from presence.rooms.events import Departure, Entered, Left, Said, Updated
from presence.rooms.memory import MemoryRooms
from presence.rooms.model import Configuration, Room
from presence.rooms.ports import RoomChanged, Write
from presence.rooms.service import Policy, Rooms, Shown
from tests.support.buses import Clock
from tests.support.rooms import ALICE, BOB, CAROL, NOW, TEA, attendance, said
from tests.support.stores import new_store

CONFIGURATION = Configuration()


class Ticking(Clock):
    def __call__(self) -> float:
        self.now += 0.001
        return self.now


class Failing(MemoryRooms):
    """One that can be unreachable."""

    down = False

    async def write(self, write: Write) -> bool:
        if self.down:
            raise Unavailable("down")
        return await super().write(write)


@dataclass
class World:
    bus: MemoryBus
    live: Failing
    store: SqlRooms
    clock: Ticking
    processes: dict[str, Rooms] = field(default_factory=dict)

    def process(self, node: str, incarnation: str = "a", **policy: object) -> Rooms:
        made = self.processes[node] = Rooms(
            node=node,
            owner=f"{node}/{incarnation}",
            policy=replace(Policy(domains={TEA.domain: ""}), **policy),  # type: ignore[arg-type]
            bus=self.live,
            store=self.store,
            clock=self.clock,
            secret=lambda: b"secret",
            lock=asyncio.Lock,
        )
        return made

    async def hear(self, node: str) -> list[Shown]:
        """What the inbox of a process has shown."""
        found = []
        for envelope in await self.bus.receive(node, 0):
            assert isinstance(envelope, RoomChanged)
            shown = self.processes[node].receive(envelope)
            if shown is not None:
                found.append(shown)
        return found


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    store = await new_store(tmp_path / "tandem.db")
    clock = Ticking(NOW)
    bus = MemoryBus(clock=clock)
    yield World(bus, Failing(bus, clock), SqlRooms(store.database), clock)
    await store.close()


async def enter(rooms: Rooms, address: object, nick: str = "", token: str = "") -> None:
    there = attendance(address, token, node=rooms.node, owner=rooms.owner)  # type: ignore[arg-type]
    await rooms.enter(TEA, Entry(attendance=there, nick=nick or there.address.local), CONFIGURATION)


def opens(**chosen: object) -> object:
    def decide(room: Room | None) -> Step:
        assert room is not None
        return configure(room, ALICE, Configuration(**chosen), Bounds())  # type: ignore[arg-type]

    return decide


async def opened(world: World, **chosen: object) -> tuple[Rooms, Rooms]:
    """Alice's room at one process, Bob there from another; all is heard."""
    one, two = world.process("xmpp-1"), world.process("xmpp-2")
    await enter(one, ALICE)
    await one.act(TEA, opens(**chosen))  # type: ignore[arg-type]
    await enter(two, BOB)
    for node in ("xmpp-1", "xmpp-2"):
        await world.hear(node)
    return one, two


def nicks(rooms: Rooms) -> list[str]:
    known = rooms.known(TEA)
    assert known is not None
    return sorted(known.occupants)


async def test_processes_have_the_same_events_in_the_same_order(world: World) -> None:
    one, two = await opened(world)
    for number in range(10):
        rooms, token = (one, "alice") if number % 2 else (two, "bob")
        await rooms.act(TEA, lambda r, t=token, n=number: speak(r, t, said(name=f"m{n}"), lasting=True))  # type: ignore[misc]
    heard = [[shown.envelope.events for shown in await world.hear(node)] for node in ("xmpp-1", "xmpp-2")]
    assert heard[0] == heard[1] == [(Said(message=said(name=f"m{n}")),) for n in range(10)]


async def test_an_action_decided_on_an_old_state_is_decided_again(world: World) -> None:
    one, two = await opened(world)
    carols = enter(two, CAROL)
    await asyncio.gather(carols, enter(one, CAROL, "caz", "c1"), one.act(TEA, lambda r: leave(r, ("bob",))))
    for node in ("xmpp-1", "xmpp-2"):
        await world.hear(node)
    assert nicks(one) == nicks(two) == ["alice", "carol", "caz"]


async def test_actions_of_one_process_are_done_in_their_order(world: World) -> None:
    one, _ = await opened(world)
    joining = enter(one, CAROL)
    talking = one.act(TEA, lambda r: speak(r, "carol", said(), lasting=True))
    await asyncio.gather(joining, talking)
    events = [shown.envelope.events[0] for shown in await world.hear("xmpp-1")]
    assert events == [Entered(nick="carol", token="carol"), Said(message=said())]


async def test_a_refusal_changes_nothing(world: World) -> None:
    one, two = await opened(world)
    with pytest.raises(Refused) as refusal:
        await two.act(TEA, lambda room: destroy(room, BOB) if room else Step())
    assert refusal.value.condition is Condition.FORBIDDEN
    assert await world.hear("xmpp-1") == []
    assert nicks(one) == ["alice", "bob"]


async def test_a_process_without_anybody_there_keeps_nothing(world: World) -> None:
    one, two = await opened(world)
    await two.act(TEA, lambda room: leave(room, ("bob",)))
    await world.hear("xmpp-2")
    assert two.known(TEA) is None
    assert (await two.find(TEA)).occupants.keys() == {"alice"}
    await one.act(TEA, lambda room: speak(room, "alice", said(), lasting=True))
    assert await world.bus.receive("xmpp-2", 0) == []


async def test_whoever_was_at_a_dead_process_leaves(world: World) -> None:
    one, _ = await opened(world)
    assert await one.sweep("xmpp-2", None) == 1
    (shown,) = await world.hear("xmpp-1")
    (left,) = shown.envelope.events
    assert isinstance(left, Left)
    assert (left.occupant.nick, left.why) == ("bob", Departure.LOST)
    assert await one.sweep("xmpp-2", None) == 0


async def test_a_process_that_begins_anew_ends_what_its_earlier_self_had(world: World) -> None:
    one, _ = await opened(world)
    again = world.process("xmpp-2", "b")
    await enter(again, BOB, "robert", "b2")
    await again.sweep("xmpp-2", "b")
    await world.hear("xmpp-1")
    assert nicks(one) == ["alice", "robert"]


async def test_a_temporary_room_of_a_dead_process_goes(world: World) -> None:
    one = world.process("xmpp-1")
    await enter(one, ALICE)
    await world.process("xmpp-2").sweep("xmpp-1", None)
    assert await one.listing(TEA.domain) == []
    with pytest.raises(Refused):
        await world.processes["xmpp-2"].find(TEA)


# --- a bus that forgets --------------------------------------------------------------------------------


async def test_a_bus_that_forgot_everything_is_told_again(world: World) -> None:
    one, two = await opened(world, name="Tea")
    world.live._rooms.clear()
    await one.restate()
    await two.restate()
    for node in ("xmpp-1", "xmpp-2"):
        await world.hear(node)
    found = await one.find(TEA)
    assert (sorted(found.occupants), found.configuration.name) == (["alice", "bob"], "Tea")
    await two.act(TEA, lambda room: speak(room, "bob", said(), lasting=True))
    assert len(await world.hear("xmpp-1")) == 1


async def test_what_was_missed_is_noticed_and_read(world: World) -> None:
    one, two = await opened(world)
    await two.act(TEA, lambda room: leave(room, ("bob",)))
    await world.bus.receive("xmpp-1", 0)  # lost on the way
    await enter(two, CAROL)
    (shown,) = await world.hear("xmpp-1")
    assert shown.missed
    found = await one.resync(TEA)
    assert found is not None
    before, after = found
    assert (sorted(before.occupants), sorted(after.occupants)) == (
        ["alice", "bob", "carol"],
        ["alice", "carol"],
    )


async def test_nothing_is_believed_done_that_the_bus_did_not_take(world: World) -> None:
    one, _ = await opened(world)
    world.live.down = True
    with pytest.raises(Unavailable):
        await one.act(TEA, lambda room: leave(room, ("alice",)))
    world.live.down = False
    assert nicks(one) == ["alice", "bob"]
    shown = attendance(ALICE).presence
    await one.act(TEA, lambda room: present(room, "alice", shown))
    assert [each.envelope.events for each in await world.hear("xmpp-1")] == [(Updated(nick="alice"),)]


# --- the database --------------------------------------------------------------------------------------


async def test_a_persistent_room_survives_the_bus(world: World) -> None:
    await opened(world, persistent=True, name="Tea")
    kept = await world.store.load_room(TEA)
    assert kept is not None
    assert (kept.configuration.name, kept.occupants) == ("Tea", {})
    world.live._rooms.clear()
    found = await world.process("xmpp-3").find(TEA)
    assert (found.configuration.name, found.affiliation(ALICE).value) == ("Tea", "owner")
    assert [each.room for each in await world.processes["xmpp-3"].listing(TEA.domain)] == [TEA]


async def test_a_temporary_room_is_not_in_the_database(world: World) -> None:
    await opened(world)
    assert await world.store.load_room(TEA) is None


async def test_a_destroyed_room_is_gone_from_the_database(world: World) -> None:
    one, _ = await opened(world, persistent=True)
    await one.act(TEA, lambda room: destroy(room, ALICE) if room else Step())
    assert await world.store.load_room(TEA) is None
    assert await world.live.unsaved() == []


async def test_what_could_not_be_saved_is_saved_later(world: World) -> None:
    one, _ = await opened(world)
    kept = world.store.save_room

    async def away(room: Room) -> None:
        raise Unavailable("the database is away")

    world.store.save_room = away  # type: ignore[method-assign]
    await one.act(TEA, opens(persistent=True))  # type: ignore[arg-type]
    assert await world.live.unsaved() == [TEA]
    world.store.save_room = kept  # type: ignore[method-assign]
    assert await one.save_all() == 1
    assert await world.store.load_room(TEA) is not None
    assert await world.live.unsaved() == []


async def test_a_room_destroyed_while_the_database_was_away_does_not_come_back(world: World) -> None:
    one, _ = await opened(world, persistent=True)
    kept = world.store.drop_room

    async def away(room: object, version: int, *, archive: bool) -> None:
        raise Unavailable("the database is away")

    world.store.drop_room = away  # type: ignore[method-assign]
    await one.act(TEA, lambda room: destroy(room, ALICE) if room else Step())
    with pytest.raises(Unavailable):
        await world.process("xmpp-3").find(TEA)
    world.store.drop_room = kept  # type: ignore[method-assign]
    with pytest.raises(Refused) as refusal:
        await world.process("xmpp-3").find(TEA)
    assert refusal.value.condition is Condition.ITEM_NOT_FOUND
