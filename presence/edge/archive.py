"""The message archive in SQL (`presence.ports.Archive`): rows in the order of acceptance, appended in groups.

What a message costs is its two index entries by owner. They hold the correspondent, too, so that asking for
one conversation reads no other's rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace
from sqlalchemy import BindParameter, ColumnElement, Select, bindparam, delete, func, or_, select, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from presence.address import Address, parse_address
from presence.archive import Archived, Filed, Page, Preferences, Span
from presence.edge.codec import decode_message, encode
from presence.edge.database import Database, inserting
from presence.edge.reading import Query
from presence.edge.tables import archive, archive_preferences

AT_ONCE = 400
"Owners whose preferences are asked for in one statement."

IDS_AT_ONCE = 8
"Looked up before others get their turn."
ENOUGH = 1_048_576
"Bytes of messages on one page."

_decode_preferences = msgspec.msgpack.Decoder(Preferences).decode

_owner: BindParameter[str] = bindparam("owner")
_peer: BindParameter[str] = bindparam("peer")
_place: BindParameter[str] = bindparam("place")
_after: BindParameter[int] = bindparam("after")
_before: BindParameter[int] = bindparam("before")
_limit: BindParameter[int] = bindparam("most")
_id: BindParameter[str] = bindparam("id")

_SIDES = (
    (archive.c.sender, archive.c.for_sender, archive.c.recipient, archive.c.recipient_tuple),
    (archive.c.recipient, archive.c.for_recipient, archive.c.sender, archive.c.sender_tuple),
)
"Owner, whether it is the owner's, correspondent and their endpoint: of what one sent, and received."


def _part(statement: Select[Any], side: tuple[Any, ...], peer: bool, place: bool) -> Select[Any]:
    """One side of a span."""
    owner, kept, other, other_tuple = side
    statement = statement.where(owner == _owner, kept.is_(True))
    statement = statement.where(archive.c.position > _after, archive.c.position < _before)
    if peer:
        statement = statement.where(other == _peer)
    if place:
        statement = statement.where(other_tuple == _place)
    return statement


def _pages(what: ColumnElement[Any], peer: bool, place: bool, backwards: bool) -> tuple[Query, ...]:
    order = archive.c.position.desc() if backwards else archive.c.position
    page = select(archive.c.position, what).order_by(order).limit(_limit)
    return tuple(Query(_part(page, side, peer, place)) for side in _SIDES)


def _counts(peer: bool, place: bool) -> tuple[Query, ...]:
    count = select(func.count()).select_from(archive)
    sent, received = _SIDES
    # what one sent to oneself is counted where it was sent
    return (
        Query(_part(count, sent, peer, place)),
        Query(_part(count, received, peer, place).where(archive.c.sender != archive.c.recipient)),
    )


_FILTERS = ((False, False), (True, False), (True, True))
_WAYS = [(*f, backwards) for f in _FILTERS for backwards in (False, True)]
_PAGES = {way: _pages(archive.c.message, *way) for way in _WAYS}
_SIZES = {way: _pages(func.length(archive.c.message), *way) for way in _WAYS}
_COUNTS = {f: _counts(*f) for f in _FILTERS}
_ONE = Query(
    select(archive.c.position, archive.c.message).where(
        archive.c.id == _id,
        or_(*((owner == _owner) & kept.is_(True) for owner, kept, _, _ in _SIDES)),
    )
)
_CHOSEN = Query(select(archive_preferences.c.owner).limit(1))
_COLUMNS = tuple(column.name for column in archive.columns)
_SQLITE_INSERT = str(sqlite.insert(archive).on_conflict_do_nothing().compile(dialect=sqlite.dialect()))


class SqlArchive:
    """Implements `presence.ports.Archive`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def write(self, rows: Sequence[Filed]) -> None:
        """See `presence.ports.Archive.write`."""
        values = [
            (
                row.position,
                row.id,
                str(row.sender),
                str(row.recipient),
                row.sender_tuple,
                row.recipient_tuple,
                row.for_sender,
                row.for_recipient,
                row.message,
            )
            for row in rows
        ]
        if not values:
            return
        if self._database.writer is not None:
            await self._database.writer.write(_SQLITE_INSERT, values)
            return
        async with self._database.writing() as connection:
            if connection.dialect.name == "sqlite":
                await connection.exec_driver_sql(_SQLITE_INSERT, values)
            else:
                named = [dict(zip(_COLUMNS, value, strict=True)) for value in values]
                await connection.execute(inserting(connection, archive).on_conflict_do_nothing(), named)

    async def page(self, owner: Address, span: Span, limit: int, *, backwards: bool = False) -> Page:
        """See `presence.ports.Archive.page`. Nothing is read before it is known how large it is: small
        questions are answered in the loop."""
        sizes: dict[int, int] = {}
        for query in _SIZES[*_filter(span), backwards]:
            for position, size in await self._rows(query, owner, span, most=limit + 1):
                sizes[int(position)] = int(size)
        order = sorted(sizes, reverse=backwards)
        chosen = _fitting(order[:limit], sizes)
        if not chosen:
            return Page((), complete=not order)
        within = replace(span, after=min(chosen) - 1, before=max(chosen) + 1)
        found: dict[int, bytes] = {}
        for query in _PAGES[*_filter(span), backwards]:
            rows = await self._rows(query, owner, within, most=limit)
            found.update((int(position), message) for position, message in rows)
        items = (Archived(each, decode_message(found[each])) for each in sorted(found))
        return Page(tuple(items), complete=len(chosen) == len(order))

    async def count(self, owner: Address, span: Span) -> int:
        """See `presence.ports.Archive.count`."""
        total = 0
        for query in _COUNTS[_filter(span)]:
            rows = await self._looked_through(query, _values(owner, span))
            total += rows[0][0]
        return total

    async def _rows(self, query: Query, owner: Address, span: Span, **more: int) -> Sequence[Sequence[Any]]:
        """A page of everything ends where it is full; one conversation's may look through all there is."""
        values = _values(owner, span) | more
        if span.peer is None:
            return await self._database.rows(query, **values)
        return await self._looked_through(query, values)

    async def _looked_through(self, query: Query, values: dict[str, Any]) -> Sequence[Sequence[Any]]:
        """Where it takes long, nobody else waits for it."""
        async with self._database.reading() as connection:
            answer = await connection.execute(query.statement, values)
            return [tuple(row) for row in answer]

    async def find(self, owner: Address, ids: Sequence[str]) -> list[Archived]:
        """See `presence.ports.Archive.find`."""
        found: dict[int, bytes] = {}
        for number, each in enumerate(ids, start=1):
            if number % IDS_AT_ONCE == 0:
                await asyncio.sleep(0)
            found.update(
                (int(row[0]), row[1]) for row in await self._database.rows(_ONE, owner=str(owner), id=each)
            )
        return [Archived(each, decode_message(found[each])) for each in sorted(found)]

    async def preferences(self, owners: Sequence[Address]) -> dict[Address, Preferences]:
        """See `presence.ports.Archive.preferences`. Few people ever choose any: where nobody did, it is one
        small question."""
        if not await self._database.rows(_CHOSEN):
            return {}
        found: dict[Address, Preferences] = {}
        async with self._database.reading() as connection:
            for start in range(0, len(owners), AT_ONCE):
                names = [str(owner) for owner in owners[start : start + AT_ONCE]]
                query = select(archive_preferences).where(archive_preferences.c.owner.in_(names))
                for name, details in await connection.execute(query):
                    found[parse_address(name)] = _decode_preferences(details)
        return found

    async def set_preferences(self, owner: Address, preferences: Preferences) -> None:
        """See `presence.ports.Archive.set_preferences`."""
        details = encode(preferences)
        async with self._database.writing() as connection:
            chosen = inserting(connection, archive_preferences).values(owner=str(owner), details=details)
            await connection.execute(
                chosen.on_conflict_do_update(index_elements=["owner"], set_={"details": details})
            )

    async def expire(self, before: int, limit: int) -> int:
        """See `presence.ports.Archive.expire`."""
        oldest = (
            select(archive.c.position)
            .where(archive.c.position < before)
            .order_by(archive.c.position)
            .limit(limit)
        )
        async with self._database.writing() as connection:
            done = await connection.execute(delete(archive).where(archive.c.position.in_(oldest)))
            return done.rowcount


async def forget_archive(connection: AsyncConnection, owner: Address) -> None:
    """The owner's archive and preferences; what others have of the same conversations stays theirs."""
    name = str(owner)
    for side, kept, _, _ in _SIDES:
        await connection.execute(update(archive).where(side == name).values({kept: False}))
    nobodys = archive.c.for_sender.is_(False) & archive.c.for_recipient.is_(False)
    for side, _, _, _ in _SIDES:
        await connection.execute(delete(archive).where(side == name, nobodys))
    await connection.execute(delete(archive_preferences).where(archive_preferences.c.owner == name))


def _fitting(positions: Sequence[int], sizes: dict[int, int]) -> Sequence[int]:
    """The first of them that have so many bytes together; always one."""
    total = 0
    for count, each in enumerate(positions):
        total += sizes[each]
        if total > ENOUGH and count:
            return positions[:count]
    return positions


def _filter(span: Span) -> tuple[bool, bool]:
    return (span.peer is not None, span.peer is not None and span.peer_tuple != "")


def _values(owner: Address, span: Span) -> dict[str, Any]:
    values: dict[str, Any] = {"owner": str(owner), "after": span.after, "before": span.before}
    if span.peer is not None:
        values["peer"] = str(span.peer)
        if span.peer_tuple:
            values["place"] = span.peer_tuple
    return values
