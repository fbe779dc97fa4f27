"""Blocklists, and what people keep with the server, in SQL (`presence.ports.BlockStore`, `KeptStore`)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import BindParameter, Row, Select, and_, bindparam, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from presence.address import Address, parse_address
from presence.edge.database import Database, inserting
from presence.edge.reading import Query
from presence.edge.tables import blocked, kept
from presence.ports import Kept

AT_ONCE = 400
"Owners asked for in one statement."

_owner: BindParameter[str] = bindparam("owner")
_collection: BindParameter[str] = bindparam("collection")
_name: BindParameter[str] = bindparam("name")
_BLOCKED = Query(select(blocked.c.name).where(blocked.c.owner == _owner).order_by(blocked.c.number))
_BLOCKERS = Query(select(blocked.c.owner).where(blocked.c.name == _name))
_rows = select(kept.c.name, kept.c.data, kept.c.position)
_one = kept.c.owner == _owner, kept.c.collection == _collection
_KEPT = Query(_rows.where(*_one).order_by(kept.c.position))
_KEPT_ONE = Query(_rows.where(*_one, kept.c.name == _name))
_LATEST_ONE = Query(_rows.where(*_one).order_by(kept.c.position.desc()).limit(1))
ROW = 64
"Bytes a row weighs beside what is in it."
_WEIGHT = Query(
    select(
        func.sum(func.length(kept.c.data) + func.length(kept.c.collection) + func.length(kept.c.name) + ROW)
    ).where(kept.c.owner == _owner)
)
_owners: BindParameter[Any] = bindparam("owners", expanding=True)
_collections: BindParameter[Any] = bindparam("collections", expanding=True)
_names: BindParameter[Any] = bindparam("names", expanding=True)
_newest = (
    select(kept.c.owner, kept.c.collection, func.max(kept.c.position).label("position"))
    .where(kept.c.owner.in_(_owners), kept.c.collection.in_(_collections))
    .group_by(kept.c.owner, kept.c.collection)
    .subquery()
)
_LATEST = select(kept).join(
    _newest,
    and_(*(kept.c[column] == _newest.c[column] for column in ("owner", "collection", "position"))),
)
_KEPT_BY = select(kept).where(
    kept.c.owner.in_(_owners), kept.c.collection == _collection, kept.c.name.in_(_names)
)
_COLLECTIONS = Query(select(kept.c.collection).where(kept.c.owner == _owner).distinct())


class Belongings:
    """Half of `presence.edge.sql.SqlStore`."""

    database: Database

    async def blocklist(self, owner: Address) -> list[str]:
        """In the order they were blocked."""
        return [row[0] for row in await self.database.rows(_BLOCKED, owner=str(owner))]

    async def blockers(self, names: Sequence[str]) -> list[Address]:
        """Whose list has one of these names."""
        found = {row[0] for name in names for row in await self.database.rows(_BLOCKERS, name=name)}
        return [parse_address(owner) for owner in sorted(found)]

    async def block(self, owner: Address, names: Sequence[str]) -> None:
        """Add what is not there yet."""
        async with self.database.writing() as connection:
            mine = blocked.c.owner == str(owner)
            known = set(await connection.scalars(select(blocked.c.name).where(mine).with_for_update()))
            last = await connection.scalar(select(func.max(blocked.c.number)).where(mine)) or 0
            fresh = [name for name in dict.fromkeys(names) if name not in known]
            rows = [
                {"owner": str(owner), "name": n, "number": last + i} for i, n in enumerate(fresh, start=1)
            ]
            if rows:
                await connection.execute(inserting(connection, blocked).on_conflict_do_nothing(), rows)

    async def unblock(self, owner: Address, names: Sequence[str] | None) -> None:
        """None: all."""
        gone = delete(blocked).where(blocked.c.owner == str(owner))
        if names is not None:
            gone = gone.where(blocked.c.name.in_(names))
        async with self.database.writing() as connection:
            await connection.execute(gone)

    async def kept(self, owner: Address, collection: str, name: str | None = None) -> list[Kept]:
        """See `presence.ports.KeptStore.kept`."""
        values = {"owner": str(owner), "collection": collection}
        if name is None:
            rows = await self.database.rows(_KEPT, **values)
        else:
            rows = await self.database.rows(_KEPT_ONE, **values, name=name)
        return [_kept(*row) for row in rows]

    async def keep(self, owner: Address, collection: str, name: str, data: bytes, most: int) -> list[str]:
        """See `presence.ports.KeptStore.keep`."""
        this = kept.c.owner == str(owner), kept.c.collection == collection
        async with self.database.writing() as connection:
            latest = {"position": time.time_ns(), "data": data}
            this_one = {"owner": str(owner), "collection": collection, "name": name}
            await connection.execute(
                inserting(connection, kept)
                .values(**this_one, **latest)
                .on_conflict_do_update(index_elements=list(this_one), set_=latest)
            )
            found = list(await connection.scalars(select(kept.c.name).where(*this).order_by(kept.c.position)))
            oldest = found[: max(0, len(found) - most)]
            if oldest:
                await connection.execute(delete(kept).where(*this, kept.c.name.in_(oldest)))
        return oldest

    async def swap(
        self, owner: Address, collection: str, name: str, old: bytes | None, new: bytes | None
    ) -> bool:
        """See `presence.ports.KeptStore.swap`."""
        this_one = {"owner": str(owner), "collection": collection, "name": name}
        this = and_(*(kept.c[column] == value for column, value in this_one.items()))
        latest = {"position": time.time_ns(), "data": new}
        async with self.database.writing() as connection:
            if old is None:
                if new is None:
                    return (await connection.execute(select(kept.c.name).where(this))).first() is None
                statement = inserting(connection, kept).values(**this_one, **latest)
                return (await connection.execute(statement.on_conflict_do_nothing())).rowcount == 1
            same = this & (kept.c.data == old)
            change = delete(kept).where(same) if new is None else update(kept).where(same).values(**latest)
            return (await connection.execute(change)).rowcount == 1

    async def discard(self, owner: Address, collection: str, name: str | None = None) -> int:
        """See `presence.ports.KeptStore.discard`."""
        gone = delete(kept).where(kept.c.owner == str(owner), kept.c.collection == collection)
        if name is not None:
            gone = gone.where(kept.c.name == name)
        async with self.database.writing() as connection:
            return (await connection.execute(gone)).rowcount

    async def collections(self, owner: Address) -> list[str]:
        """See `presence.ports.KeptStore.collections`."""
        return sorted(row[0] for row in await self.database.rows(_COLLECTIONS, owner=str(owner)))

    async def weight(self, owner: Address) -> int:
        """See `presence.ports.KeptStore.weight`."""
        return int((await self.database.rows(_WEIGHT, owner=str(owner)))[0][0] or 0)

    async def latest(
        self, owners: Sequence[Address], collections: Sequence[str]
    ) -> dict[tuple[Address, str], Kept]:
        """See `presence.ports.KeptStore.latest`."""
        if len(owners) == len(collections) == 1:
            key = owners[0], collections[0]
            rows = await self.database.rows(_LATEST_ONE, owner=str(owners[0]), collection=collections[0])
            return {key: _kept(*rows[0])} if rows else {}
        found = await self._of(owners, _LATEST, collections=collections)
        return {(owner, row.collection): _kept(row.name, row.data, row.position) for owner, row in found}

    async def kept_by(
        self, owners: Sequence[Address], collection: str, names: Sequence[str]
    ) -> dict[tuple[Address, str], Kept]:
        """See `presence.ports.KeptStore.kept_by`."""
        if len(owners) == len(names) == 1:
            key = owners[0], names[0]
            only = await self.kept(owners[0], collection, names[0])
            return {key: only[0]} if only else {}
        found = await self._of(owners, _KEPT_BY, collection=collection, names=names)
        return {(owner, row.name): _kept(row.name, row.data, row.position) for owner, row in found}

    async def _of(
        self, owners: Sequence[Address], query: Select[Any], **values: Any
    ) -> list[tuple[Address, Row[Any]]]:
        rows: list[tuple[Address, Row[Any]]] = []
        if owners:
            async with self.database.reading() as connection:
                for start in range(0, len(owners), AT_ONCE):
                    people = {str(owner): owner for owner in owners[start : start + AT_ONCE]}
                    answer = await connection.execute(query, {"owners": list(people), **values})
                    rows += [(people[row.owner], row) for row in answer]
        return rows


def _kept(name: str, data: bytes, position: int) -> Kept:
    return Kept(name, data, position / 1e9)


async def forget_belongings(connection: AsyncConnection, address: Address) -> None:
    """Of a person who is deleted; nobody blocks a later one of that name by mistake."""
    for table in (blocked, kept):
        await connection.execute(delete(table).where(table.c.owner == str(address)))
    await connection.execute(delete(blocked).where(blocked.c.name == str(address)))
