"""presence/blocking.py: a list that is changed while it is read."""

from __future__ import annotations

import asyncio
from pathlib import Path

from presence.address import parse_address
from presence.blocking import Blocking
from presence.edge.sql import SqlStore
from presence.memory import MemoryBus
from tests.support.stores import new_store

ALICE, BOB = parse_address("alice@example.org"), parse_address("bob@example.org")


class Slow(SqlStore):
    """Its answers take as long as the test wants."""

    may_answer: asyncio.Event | None = None
    asked = asyncio.Event()

    async def blocklist(self, owner: object) -> list[str]:
        found = await super().blocklist(owner)  # type: ignore[arg-type]
        if (slow := self.may_answer) is not None:
            self.may_answer = None
            self.asked.set()
            await slow.wait()
        return found


async def test_what_was_read_before_the_list_changed_is_not_remembered(tmp_path: Path) -> None:
    await (await new_store(tmp_path / "tandem.db")).close()
    slow = Slow(f"sqlite+aiosqlite:///{tmp_path}/tandem.db")
    blocking = Blocking(slow, MemoryBus(), lambda: 1_800_000_000.0)
    slow.may_answer = answer = asyncio.Event()
    early = asyncio.ensure_future(blocking.blocks(ALICE, BOB))
    await slow.asked.wait()
    await blocking.block(ALICE, [str(BOB)])
    answer.set()
    assert not await early
    assert await blocking.blocks(ALICE, BOB)
    await slow.close()
