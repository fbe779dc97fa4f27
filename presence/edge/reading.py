"""Small reads without a thread: from a SQLite file on this machine a row by its key costs a few
microseconds, handing the question to a thread a hundred times that.

Readers of a WAL file never wait for its writers. What cannot be answered at once (no file yet, the file is
being recovered or checkpointed away) is left to the engine, as is every other database.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any
from urllib.parse import quote

from sqlalchemy import Select
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Compiled, make_url


class Query:
    """A `SELECT` whose `bindparam`s are given at each use."""

    def __init__(self, statement: Select[Any]) -> None:
        self.statement = statement

    @cached_property
    def _compiled(self) -> Compiled:
        return self.statement.compile(dialect=sqlite.dialect(paramstyle="named"))

    @cached_property
    def text(self) -> str:
        """As SQLite reads it, with `:name` for parameters."""
        return str(self._compiled)

    @cached_property
    def constants(self) -> dict[str, Any]:
        """Parameters that are the same at each use, as the number of a `LIMIT`."""
        return {name: value for name, value in self._compiled.params.items() if value is not None}


def local_path(url: str) -> str | None:
    """Of the SQLite file behind a URL; None for any other database."""
    parsed = make_url(url)
    path = parsed.database or ""
    if parsed.get_backend_name() != "sqlite" or path in ("", ":memory:") or path.startswith("file:"):
        return None
    return path


class LocalReader:
    """A read-only connection of the loop's own."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    @classmethod
    def of(cls, url: str) -> LocalReader | None:
        """For the URL of a SQLite file; None for any other database."""
        path = local_path(url)
        return cls(path) if path is not None else None

    def rows(self, query: Query, values: Mapping[str, Any]) -> Sequence[Sequence[Any]] | None:
        """All rows, or None when the engine is to be asked."""
        try:
            if self._connection is None:
                self._connection = self._open()
            return self._connection.execute(query.text, {**query.constants, **values}).fetchall()
        except sqlite3.Error:
            self.close()
            return None

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{quote(self._path)}?mode=rw", uri=True, isolation_level=None, timeout=0
        )
        connection.execute("PRAGMA query_only=ON")
        return connection

    def close(self) -> None:
        """It opens again when it is asked again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
