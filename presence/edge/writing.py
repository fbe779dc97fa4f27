"""Many rows into a SQLite file on this machine: one transaction, one way to a thread and back.

By the engine each statement goes there and back, and every time two threads are woken.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Sequence
from typing import Any

from presence.edge.reading import local_path
from presence.errors import Unavailable

PATIENCE = 10.0
"Seconds one waits for another who writes."
PRAGMAS = (f"busy_timeout={PATIENCE * 1000:.0f}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")
"What every connection that writes is told."


class LocalWriter:
    """One connection; whoever writes waits for its turn."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._turn = threading.Lock()

    @classmethod
    def of(cls, url: str) -> LocalWriter | None:
        """For the URL of a SQLite file; None for any other database."""
        path = local_path(url)
        return cls(path) if path is not None else None

    async def found(self) -> None:
        """Make the file, in the mode that all who come then find. Raises `Unavailable`."""
        await asyncio.to_thread(self._found)

    def _found(self) -> None:
        # Of those who change a file's mode at the same time SQLite refuses all but one, without waiting.
        end = time.monotonic() + PATIENCE
        while True:
            try:
                self._open().close()
                return
            except sqlite3.Error as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                    raise Unavailable(f"database: {error}") from error
                time.sleep(0.01)

    async def write(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """The statement for each row: all of them, or `Unavailable` and none."""
        await asyncio.to_thread(self._write, statement, rows)

    def _write(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        with self._turn:
            try:
                if self._connection is None:
                    self._connection = self._open()
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany(statement, rows)
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                self._drop()  # which rolls back
                raise Unavailable(f"database: {error}") from error

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            for pragma in PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """When what is being written is written. It opens again when there is more."""
        with self._turn:
            self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
