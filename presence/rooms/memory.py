"""Rooms in one process's memory: the reference model of `presence.rooms.ports.RoomBus`, for unit tests.

`presence.edge.rooms` keeps the same contract; `tests/presence/test_rooms_bus_contract.py` holds both to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
from msgspec.structs import replace

from presence.address import Address
from presence.errors import Condition, Refused
from presence.memory import MemoryBus
from presence.messages import InstantMessage
from presence.rooms.model import Room
from presence.rooms.ports import Listed, Reading, Recall, RoomChanged, Write


@dataclass(slots=True)
class _Live:
    room: Room
    history: list[tuple[float, InstantMessage]] = field(default_factory=list)
    listed: Listed | None = None


class MemoryRooms:
    """Implements `RoomBus` beside a `MemoryBus`."""

    def __init__(self, bus: MemoryBus, clock: Callable[[], float]) -> None:
        self._bus = bus
        self._clock = clock
        self._rooms: dict[Address, _Live] = {}
        self._unsaved: dict[Address, int] = {}
        self._nodes: dict[str, set[Address]] = {}

    async def read(self, room: Address) -> Reading:
        live = self._rooms.get(room)
        return Reading(live.room.copy() if live is not None else None, room in self._unsaved)

    async def write(self, write: Write) -> bool:
        envelope = write.envelope
        live = self._rooms.get(envelope.room)
        if (live.room.version if live is not None else 0) != envelope.previous:
            return False
        if write.creation is not None:
            self._check_creation(write)
        if write.archived is not None:
            self._bus.check_archive()
        if live is None:
            assert envelope.delta.head is not None
            live = self._rooms[envelope.room] = _Live(Room(envelope.room, 0, envelope.delta.head))
        live.room.apply(envelope.version, envelope.delta)
        live.listed = write.listed or live.listed
        self._remember(live, write)
        for node in write.nodes:
            recalled = write.recall is not None and write.recall.node == node
            self._bus.post(node, self._with_history(envelope, live, write.recall) if recalled else envelope)
        if write.archived is not None:
            self._bus.file(write.archived)
        for node in write.joined:
            self._nodes.setdefault(node, set()).add(envelope.room)
        for node in write.parted:
            self._nodes.get(node, set()).discard(envelope.room)
        if write.unsaved:
            self._unsaved[envelope.room] = envelope.version
        if envelope.delta.gone:
            del self._rooms[envelope.room]
        return True

    def _check_creation(self, write: Write) -> None:
        creation, domain = write.creation, write.envelope.room.domain
        assert creation is not None
        if sum(room.domain == domain for room in self._rooms) >= creation.per_domain:
            raise Refused(Condition.RESOURCE_CONSTRAINT, "there are too many rooms")
        mine = sum(live.room.head.creator == creation.creator for live in self._rooms.values())
        if mine >= creation.per_account:
            raise Refused(Condition.RESOURCE_CONSTRAINT, "you have made too many rooms")

    def _remember(self, live: _Live, write: Write) -> None:
        if write.history is not None:
            live.history.append((self._clock(), write.history))
            live.history = live.history[-write.history_limit :] if write.history_limit else []
            weights = [len(msgspec.msgpack.encode(message)) for _, message in live.history]
            if sum(weights) > write.history_bytes:
                while sum(weights) > write.history_bytes * 3 / 4:
                    del live.history[0], weights[0]
        if write.strike:
            live.history = [entry for entry in live.history if entry[1].id != write.strike]

    def _with_history(self, envelope: RoomChanged, live: _Live, recall: Recall | None) -> RoomChanged:
        assert recall is not None
        recent = [message for at, message in live.history if at >= recall.since]
        return replace(envelope, history=tuple(recent[-recall.most :]) if recall.most else ())

    async def listing(self, domain: str) -> list[Listed]:
        found = [live.listed for room, live in sorted(self._rooms.items()) if room.domain == domain]
        return [listed for listed in found if listed is not None]

    async def inhabited(self, node: str) -> list[Address]:
        return sorted(self._nodes.get(node, ()))

    async def unsaved(self) -> list[Address]:
        return sorted(self._unsaved)

    async def saved(self, room: Address, version: int) -> None:
        if self._unsaved.get(room, version + 1) <= version:
            del self._unsaved[room]
