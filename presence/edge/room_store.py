"""Persistent rooms in SQL (`presence.rooms.ports.RoomStore`)."""

from __future__ import annotations

import msgspec
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from presence.address import Address, parse_address
from presence.archive import position
from presence.edge import tables
from presence.edge.codec import encode
from presence.edge.database import Database, inserting
from presence.edge.tables import room_affiliations, rooms
from presence.messages import InstantMessage
from presence.rooms.model import Affiliated, Affiliation, Head, Room
from presence.rooms.ports import Listed

_decode_head = msgspec.msgpack.Decoder(Head).decode


class SqlRooms:
    """Implements `RoomStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load_room(self, room: Address) -> Room | None:
        """See `RoomStore.load_room`."""
        name = str(room)
        async with self._database.reading() as connection:
            found = (await connection.execute(select(rooms).where(rooms.c.room == name))).one_or_none()
            if found is None:
                return None
            people = await connection.execute(
                select(room_affiliations).where(room_affiliations.c.room == name)
            )
            affiliated = [
                Affiliated(parse_address(row.address), Affiliation(row.affiliation), row.nick, row.reason)
                for row in people
            ]
        return Room(room, found.version, _decode_head(found.details), (), affiliated)

    async def save_room(self, room: Room) -> None:
        """See `RoomStore.save_room`."""
        name = str(room.address)
        values = {
            "domain": room.address.domain,
            "version": room.version,
            "name": room.configuration.name,
            "public": room.configuration.public,
            "details": encode(room.head),
        }
        async with self._database.writing() as connection:
            newer = rooms.c.version < room.version
            made = inserting(connection, rooms).values(room=name, **values)
            done = await connection.execute(
                made.on_conflict_do_update(index_elements=["room"], set_=values, where=newer)
            )
            if done.rowcount:
                await _save_affiliations(connection, room)

    async def drop_room(self, room: Address, version: int, *, archive: bool) -> None:
        """See `RoomStore.drop_room`."""
        name = str(room)
        async with self._database.writing() as connection:
            later = select(rooms.c.version).where(rooms.c.room == name, rooms.c.version > version)
            if (await connection.execute(later)).first() is not None:
                return
            await connection.execute(delete(rooms).where(rooms.c.room == name))
            await connection.execute(delete(room_affiliations).where(room_affiliations.c.room == name))
            if archive:
                said = tables.archive.c
                mine = (said.sender == name, said.recipient == name, said.position < position(version))
                await connection.execute(delete(tables.archive).where(*mine))

    async def persistent_rooms(self, domain: str) -> list[Listed]:
        """See `RoomStore.persistent_rooms`."""
        query = select(rooms.c.room, rooms.c.name, rooms.c.public).where(rooms.c.domain == domain)
        async with self._database.reading() as connection:
            found = await connection.execute(query)
            return [Listed(room=parse_address(row[0]), name=row[1], public=bool(row[2])) for row in found]

    async def strike(self, room: Address, id: str, stone: InstantMessage) -> bool:
        """See `RoomStore.strike`."""
        name = str(room)
        archive = tables.archive
        mine = (archive.c.id == id, archive.c.sender == name, archive.c.recipient == name)
        async with self._database.writing() as connection:
            done = await connection.execute(update(archive).where(*mine).values(message=encode(stone)))
            return bool(done.rowcount)


async def _save_affiliations(connection: AsyncConnection, room: Room) -> None:
    """What differs from what is there."""
    name = str(room.address)
    mine = room_affiliations.c.room == name
    there = {
        row.address: (row.affiliation, row.nick, row.reason)
        for row in await connection.execute(select(room_affiliations).where(mine))
    }
    now = {
        str(each.address): (each.affiliation.value, each.nick, each.reason)
        for each in room.affiliated.values()
    }
    for address in there.keys() - {a for a, values in now.items() if there.get(a) == values}:
        await connection.execute(
            delete(room_affiliations).where(mine, room_affiliations.c.address == address)
        )
    fresh = [
        {"room": name, "address": address, "affiliation": values[0], "nick": values[1], "reason": values[2]}
        for address, values in now.items()
        if there.get(address) != values
    ]
    if fresh:
        await connection.execute(insert(room_affiliations), fresh)
