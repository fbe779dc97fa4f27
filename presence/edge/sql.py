"""Rosters and subscriptions in SQL (`presence.ports.Store`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import BindParameter, and_, bindparam, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from presence.address import Address, parse_address
from presence.edge.archive import forget_archive
from presence.edge.belongings import Belongings, forget_belongings
from presence.edge.database import Database, inserting
from presence.edge.entry import Entry, forget_entry
from presence.edge.reading import Query
from presence.edge.tables import roster, roster_versions
from presence.errors import Conflict
from presence.model import Text
from presence.ports import RosterChange
from presence.subscriptions import RosterItem, Subscription


class _Details(msgspec.Struct, frozen=True, array_like=True):
    groups: tuple[str, ...] = ()
    request: tuple[Text, ...] = ()
    opaque: bytes = b""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Details).decode

_items = select(roster)
_owner: BindParameter[str] = bindparam("owner")
_contact: BindParameter[str] = bindparam("contact")
_ITEM = Query(_items.where(roster.c.owner == _owner, roster.c.contact == _contact))
_PAIR = Query(
    _items.where(
        or_(
            and_(roster.c.owner == _owner, roster.c.contact == _contact),
            and_(roster.c.owner == _contact, roster.c.contact == _owner),
        )
    )
)
_ROSTER = Query(_items.where(roster.c.owner == _owner).order_by(roster.c.contact))
_VERSION = Query(select(roster_versions.c.version).where(roster_versions.c.owner == _owner))
_SEEN = frozenset({Subscription.FROM, Subscription.BOTH})


class SqlStore(Belongings, Entry):
    """Implements `presence.ports.Store`."""

    def __init__(self, url: str) -> None:
        """`url`: as SQLAlchemy has it, `sqlite+aiosqlite:////path` or `postgresql+asyncpg://...`."""
        self.database = Database(url)

    async def roster(self, owner: Address) -> tuple[str, list[RosterItem]]:
        """Version and items; the version is read first, so that it is never newer than the items."""
        version = await self.database.rows(_VERSION, owner=str(owner))
        rows = await self.database.rows(_ROSTER, owner=str(owner))
        return str(version[0][0] if version else 0), [_item(row) for row in rows]

    async def item(self, owner: Address, contact: Address) -> RosterItem:
        """One item, or an empty one."""
        rows = await self.database.rows(_ITEM, owner=str(owner), contact=str(contact))
        return _item(rows[0]) if rows else RosterItem(contact=contact)

    async def pair(self, one: Address, other: Address) -> tuple[RosterItem, RosterItem]:
        """Both sides' items for each other."""
        rows = await self.database.rows(_PAIR, owner=str(one), contact=str(other))
        found = {row[0]: _item(row) for row in rows}
        return (
            found.get(str(one), RosterItem(contact=other)),
            found.get(str(other), RosterItem(contact=one)),
        )

    async def save(self, changes: Sequence[RosterChange]) -> dict[Address, str]:
        """All changes in one transaction, each only if `previous` still holds."""
        versions: dict[Address, str] = {}
        async with self.database.writing() as connection:
            for change in sorted(changes, key=lambda c: (c.owner, c.item.contact)):
                await _write(connection, change)
            for owner in sorted({change.owner for change in changes}):
                versions[owner] = str(await _advance(connection, owner))
        return versions

    async def watchers(self, presentity: Address) -> list[RosterItem]:
        """Items of those who may see the presentity."""
        items = [_item(row) for row in await self.database.rows(_ROSTER, owner=str(presentity))]
        return [item for item in items if item.subscription in _SEEN]

    async def migrate(self) -> None:
        """Bring the schema up to date."""
        await self.database.migrate()

    async def ping(self) -> float:
        """Seconds of one round trip."""
        return await self.database.ping()

    async def close(self) -> None:
        """Give the connections back."""
        await self.database.close()


def _item(row: Sequence[Any]) -> RosterItem:
    """From a row of the whole table."""
    _, contact, subscription, ask, pending_in, approved, listed, name, encoded = row
    details = _decode(encoded)
    return RosterItem(
        contact=parse_address(contact),
        subscription=Subscription(subscription),
        ask=bool(ask),
        pending_in=bool(pending_in),
        approved=bool(approved),
        listed=bool(listed),
        name=name,
        groups=details.groups,
        request=details.request,
        opaque=details.opaque,
    )


def _values(item: RosterItem) -> dict[str, Any]:
    return {
        "subscription": item.subscription.value,
        "ask": item.ask,
        "pending_in": item.pending_in,
        "approved": item.approved,
        "listed": item.listed,
        "name": item.name,
        "details": _encode(_Details(item.groups, item.request, item.opaque)),
    }


async def _read(
    connection: AsyncConnection, owner: Address, contact: Address, *, lock: bool = False
) -> RosterItem:
    query = select(roster).where(roster.c.owner == str(owner), roster.c.contact == str(contact))
    row = (await connection.execute(query.with_for_update() if lock else query)).first()
    return _item(row) if row else RosterItem(contact=contact)


async def _write(connection: AsyncConnection, change: RosterChange) -> None:
    contact = change.item.contact
    empty = RosterItem(contact=contact)
    if await _read(connection, change.owner, contact, lock=True) != change.previous:
        raise Conflict(f"{change.owner}'s item for {contact} changed in between")
    this = and_(roster.c.owner == str(change.owner), roster.c.contact == str(contact))
    if change.item == empty:
        await connection.execute(delete(roster).where(this))
    elif change.previous != empty:
        await connection.execute(update(roster).where(this).values(**_values(change.item)))
    else:
        values = {"owner": str(change.owner), "contact": str(contact), **_values(change.item)}
        try:
            await connection.execute(insert(roster).values(values))
        except IntegrityError as error:  # PostgreSQL: another process inserted it first
            raise Conflict(f"{change.owner}'s item for {contact} appeared in between") from error


async def forget_person(connection: AsyncConnection, address: Address) -> None:
    """Nobody of this name is left, in anybody's roster: a later account of the name is another person."""
    name = str(address)
    befriended = select(roster.c.owner).where(roster.c.contact == name)
    owners = [parse_address(row.owner) for row in await connection.execute(befriended)]
    await connection.execute(delete(roster).where(or_(roster.c.owner == name, roster.c.contact == name)))
    for owner in sorted({*owners, address}):
        await _advance(connection, owner)
    await forget_archive(connection, address)
    await forget_belongings(connection, address)
    await forget_entry(connection, address)


async def _version(connection: AsyncConnection, owner: Address) -> int:
    query = select(roster_versions.c.version).where(roster_versions.c.owner == str(owner))
    return await connection.scalar(query) or 0


async def _advance(connection: AsyncConnection, owner: Address) -> int:
    first = inserting(connection, roster_versions).values(owner=str(owner), version=1)
    await connection.execute(
        first.on_conflict_do_update(index_elements=["owner"], set_={"version": roster_versions.c.version + 1})
    )
    return await _version(connection, owner)
