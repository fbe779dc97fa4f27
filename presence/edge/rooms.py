"""Live rooms in Redis (`presence.rooms.ports.RoomBus`): one hash and one stream each, one script per step.

A room's hash has `v` (its version), `h` (its `Head`), `b` (about how many bytes its stream has), `o:NICK` (an
`Occupant`) and `a:ADDRESS` (an `Affiliated`). Its stream has what whoever enters is shown.
"""

from __future__ import annotations

from typing import Any

import msgpack  # type: ignore[import-untyped]
import msgspec

from presence.address import Address
from presence.edge.codec import base_key, encode, pairs
from presence.edge.redis import RedisBus, address_of
from presence.errors import Condition, Refused
from presence.rooms.model import Affiliated, Delta, Head, Occupant, Room
from presence.rooms.ports import Listed, Reading, Write

UNSAVED = "t:rooms:unsaved"
_REFUSALS = {
    b"A": "the archive does not keep up",
    b"R": "there are too many rooms",
    b"P": "you have made too many rooms",
}
_decode_head = msgspec.msgpack.Decoder(Head).decode
_decode_occupant = msgspec.msgpack.Decoder(Occupant).decode
_decode_affiliated = msgspec.msgpack.Decoder(Affiliated).decode
_decode_listed = msgspec.msgpack.Decoder(Listed).decode


class RedisRooms:
    """Implements `RoomBus`."""

    def __init__(self, bus: RedisBus) -> None:
        self._bus = bus

    async def read(self, room: Address) -> Reading:
        stored, waits = await self._bus.commands(
            [("HGETALL", f"{base_key(room)}:room"), ("HGET", UNSAVED, str(room))]
        )
        return Reading(_room(room, pairs(stored)) if stored else None, waits is not None)

    async def write(self, write: Write) -> bool:
        answer = await self._bus.step("room", write.envelope.room, _packed(write, self._bus.archive_limit))
        if answer in _REFUSALS:
            raise Refused(Condition.RESOURCE_CONSTRAINT, _REFUSALS[answer])
        return bool(answer == b"D")

    async def listing(self, domain: str) -> list[Listed]:
        (stored,) = await self._bus.commands([("HGETALL", _list_key(domain))])
        return sorted((_decode_listed(value) for value in pairs(stored).values()), key=lambda each: each.room)

    async def inhabited(self, node: str) -> list[Address]:
        (names,) = await self._bus.commands([("SMEMBERS", f"t:node:{node}:rooms")])
        return sorted(address_of(name) for name in names)

    async def unsaved(self) -> list[Address]:
        (names,) = await self._bus.commands([("HKEYS", UNSAVED)])
        return sorted(address_of(name) for name in names)

    async def saved(self, room: Address, version: int) -> None:
        await self._bus.run("saved", UNSAVED, str(room), version)


def _list_key(domain: str) -> str:
    return f"t:rooms:list:{domain}"


def _room(address: Address, stored: dict[bytes, bytes]) -> Room:
    version, head = int(stored.pop(b"v")), _decode_head(stored.pop(b"h"))
    occupants = [_decode_occupant(value) for key, value in stored.items() if key.startswith(b"o:")]
    affiliated = [_decode_affiliated(value) for key, value in stored.items() if key.startswith(b"a:")]
    return Room(address, version, head, occupants, affiliated)


def _fields(delta: Delta) -> tuple[list[tuple[str, bytes]], list[str]]:
    """What is put and what is dropped."""
    put = [("h", encode(delta.head))] if delta.head is not None else []
    put += [(f"o:{each.nick}", encode(each)) for each in delta.occupants]
    put += [(f"a:{each.address}", encode(each)) for each in delta.affiliated if each.kept]
    kept = {each.nick for each in delta.occupants}
    drop = [f"o:{nick}" for nick in delta.left if nick not in kept]
    drop += [f"a:{each.address}" for each in delta.affiliated if not each.kept]
    return put, drop


def _packed(write: Write, archive_limit: int) -> bytes:
    envelope, delta = write.envelope, write.envelope.delta
    put, drop = _fields(delta)
    recall, history, archived, creation = write.recall, write.history, write.archived, write.creation
    listed = encode(write.listed) if write.listed is not None else b""
    lists = bool(listed or delta.gone or creation is not None)
    step: list[Any] = [
        envelope.previous,
        envelope.version,
        put,
        drop,
        delta.gone,
        encode(envelope),
        write.nodes,
        (recall.node, recall.most, f"{int(recall.since * 1000)}-0") if recall is not None else False,
        (encode(history), history.id, write.history_limit, write.history_bytes)
        if history is not None
        else False,
        (encode(archived), archive_limit) if archived is not None and archive_limit else False,
        write.strike,
        write.joined,
        write.parted,
        (_list_key(envelope.room.domain), listed) if lists else False,
        (str(creation.creator), creation.per_domain, creation.per_account) if creation is not None else False,
        str(write.creator) if write.creator is not None else "",
        write.unsaved,
    ]
    return bytes(msgpack.packb(step, use_bin_type=False))
