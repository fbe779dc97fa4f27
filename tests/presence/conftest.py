"""A real Valkey for the tests of the bus, and both kinds of database for those of the store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.postgres import Postgres


@pytest.fixture(scope="session")
async def valkey(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """URL of a server all tests share; each empties it."""
    from presence.edge.embedded import Durability, EmbeddedValkey

    folder: Path = tmp_path_factory.mktemp("valkey")
    async with EmbeddedValkey(folder, durability=Durability.MEMORY) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path, postgres: Postgres) -> str:
    """URL of a new, empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/tandem.db"
    return await postgres.database()
