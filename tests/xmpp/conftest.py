"""Fixtures of the XMPP server's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.xmpp.scene import Scene, scene


@pytest.fixture
async def xmpp(tmp_path: Path) -> AsyncIterator[Scene]:
    """XMPP servers without sockets."""
    async with scene(tmp_path) as made:
        yield made
