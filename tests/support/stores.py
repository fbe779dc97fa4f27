"""Stores on new SQLite files, and people with accounts in them, without the work of making each anew: tables
and password proofs cost more than most tests, so they are made once and copied.
"""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select

from presence.address import Address
from presence.edge.accounts import AccountSettings, open_accounts
from presence.edge.sql import SqlStore
from presence.edge.tables import accounts, credentials
from presence.ports import Accounts

Fill = Callable[[SqlStore], Awaitable[None]]
_files: dict[Fill | None, bytes] = {}
_proofs: dict[tuple[Address, str], list[dict[str, Any]]] = {}


async def new_store(file: Path, fill: Fill | None = None) -> SqlStore:
    """With all tables, and with what `fill` puts into a new one: called once, so a function of a module."""
    if fill not in _files:
        _files[fill] = await _made(fill)
    return _copy(_files[fill], file)


async def add_person(store: SqlStore, address: Address, password: str, known: Accounts | None = None) -> None:
    """An account in the store's own database. `known`: who may have been asked for it before."""
    rows = _proofs.get((address, password))
    if rows is None:
        people = open_accounts(AccountSettings(), store)
        await people.add(address, password)
        await people.close()
        async with store.database.reading() as connection:
            found = await connection.execute(select(credentials).where(credentials.c.address == str(address)))
            _proofs[address, password] = [dict(row) for row in found.mappings()]
    else:
        async with store.database.writing() as connection:
            row = {"address": str(address), "enabled": True, "phone_only": True, "created": 0.0}
            await connection.execute(insert(accounts).values(row))
            await connection.execute(insert(credentials), rows)
    if known is not None:
        known.forget(address)


async def _made(fill: Fill | None) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "template"
        store = _store(file)
        await store.migrate()
        if fill is not None:
            await fill(store)
        await store.close()
        return file.read_bytes()


def _copy(made: bytes, file: Path) -> SqlStore:
    file.write_bytes(made)
    return _store(file)


def _store(file: Path) -> SqlStore:
    return SqlStore(f"sqlite+aiosqlite:///{file}")
