"""A real Valkey for the tests of the bus."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
async def valkey(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """URL of a server all tests share; each empties it."""
    from presence.edge.embedded import Durability, EmbeddedValkey

    folder: Path = tmp_path_factory.mktemp("valkey")
    async with EmbeddedValkey(folder, durability=Durability.MEMORY) as url:
        yield url
