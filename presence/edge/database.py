"""Engines, transactions and migrations for SQLite (WAL) and PostgreSQL.

Several processes share one SQLite file: writers take the lock at BEGIN and wait their turn, readers never
wait.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Table, event, insert, inspect, select, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from presence.edge.migrations import steps
from presence.edge.reading import LocalReader, Query
from presence.edge.tables import schema_versions
from presence.edge.writing import PRAGMAS, LocalWriter
from presence.errors import PresenceError, Unavailable

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

MIGRATION_LOCK = 0x7A4DE3
"PostgreSQL advisory lock: one process migrates, the others wait for it."


class NewerSchema(PresenceError):
    """The database was written by a newer Tandem."""


class Database:
    """One engine per process. Every method may raise `Unavailable`."""

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        self._local = LocalReader.of(url)
        self._writer = LocalWriter.of(url)

    async def rows(self, query: Query, **values: Any) -> Sequence[Sequence[Any]]:
        """All rows of a small question, by their columns' order. Booleans may come as 0 and 1."""
        if self._local is not None:
            found = self._local.rows(query, values)
            if found is not None:
                return found
        async with self.reading() as connection:
            answer = await connection.execute(query.statement, values)
            return [tuple(row) for row in answer]

    @property
    def writer(self) -> LocalWriter | None:
        """The short way to write many rows, where there is one."""
        return self._writer

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Each statement sees what is committed; no transaction is held."""
        with _refusals():
            async with self._engine.connect() as connection:
                yield await connection.execution_options(isolation_level="AUTOCOMMIT")

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """One transaction, committed at the end, rolled back by an exception."""
        with _refusals():
            async with self._engine.begin() as connection:
                yield connection

    async def migrate(self) -> None:
        """Bring the schema to today's version; safe when several processes start together."""
        if self._writer is not None:
            await self._writer.found()
        async with self.writing() as connection:
            if connection.dialect.name == "postgresql":
                await connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
            await connection.run_sync(_migrate)

    async def ping(self) -> float:
        """Seconds for the simplest question."""
        start = time.perf_counter()
        async with self.reading() as connection:
            await connection.execute(text("SELECT 1"))
        return time.perf_counter() - start

    async def close(self) -> None:
        """Give the connections back."""
        if self._local is not None:
            self._local.close()
        if self._writer is not None:
            self._writer.close()
        await self._engine.dispose()


def inserting(connection: AsyncConnection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that may say what to do when the row is there already: PostgreSQL lets two processes find
    that it is not, and refuses the second."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import (
            postgresql,  # who has no PostgreSQL needs not wait for it at each start
        )

        return postgresql.insert(table)
    return sqlite.insert(table)


def _engine(url: str) -> AsyncEngine:
    if not url.startswith("sqlite"):
        return create_async_engine(url, pool_pre_ping=True)
    engine = create_async_engine(url, pool_size=4, max_overflow=0)

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver's own transactions would begin too late
        cursor = connection.cursor()
        for pragma in PRAGMAS:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        if connection.get_isolation_level() != "AUTOCOMMIT":
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _migrate(connection: Connection) -> None:
    if not inspect(connection).has_table(schema_versions.name):
        schema_versions.create(connection)
    current = (
        connection.scalar(
            select(schema_versions.c.version).order_by(schema_versions.c.version.desc()).limit(1)
        )
        or 0
    )
    known = steps()
    if current > len(known):
        raise NewerSchema(f"the database has schema {current}, this Tandem knows {len(known)}")
    for version, upgrade in known[current:]:
        upgrade(connection)
        connection.execute(insert(schema_versions).values(version=version, applied=time.time()))


class _refusals:
    """Turns the driver's trouble into `Unavailable`."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, (SQLAlchemyError, OSError)):
            reason = error.orig if isinstance(error, DBAPIError) else error
            raise Unavailable(f"database: {reason}") from error
