"""gateway/node.py: one process writes the archive, and a database that is away is no lost bus."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.metrics import DictMetrics
from gateway.node import Node
from gateway.wiring import Backend
from presence.archive import Span
from presence.archiver import Archiver
from presence.edge.accounts import AccountSettings, open_accounts
from presence.edge.archive import SqlArchive
from presence.edge.sql import SqlStore
from presence.history import History
from presence.memory import MemoryBus
from presence.service import PresenceService
from tests.gateway.test_node import FAST, RecordingDoor, until
from tests.support.buses import ALICE, Clock, message


class Running:
    """A node with an archiver whose database may be another than the node's."""

    def __init__(self, directory: Path, role: str, archived_in: str) -> None:
        self.clock = Clock()
        self.bus = MemoryBus(clock=self.clock)
        self.metrics = DictMetrics()
        self.store = SqlStore(f"sqlite+aiosqlite:///{directory}/tandem.sqlite")
        self.elsewhere = SqlStore(f"sqlite+aiosqlite:///{directory}/{archived_in}")
        archive = SqlArchive(self.elsewhere.database)
        self.history = History(self.bus, archive, self.store)
        accounts = open_accounts(AccountSettings(), self.store)
        common = {"bus": self.bus, "store": self.store, "metrics": self.metrics, "clock": self.clock}
        domains = frozenset({"example.org"})
        archiver = Archiver(holder=f"{role}-1/a", domains=domains, archive=archive, **common)  # type: ignore[arg-type]
        service = PresenceService(
            node=f"{role}-1",
            incarnation="a",
            domains=domains,
            accounts=accounts,
            **common,  # type: ignore[arg-type]
        )

        async def connect() -> None:
            return None

        backend = Backend(
            node=f"{role}-1", incarnation="a", connect=connect, bus=self.bus, store=self.store,
            accounts=accounts, metrics=self.metrics, service=service, archiver=archiver,
        )  # fmt: skip
        self.node = Node(
            role=role, backend=backend, door=RecordingDoor(), drain=1, clock=self.clock, pace=FAST
        )
        self.stop = asyncio.Event()

    async def __aenter__(self) -> Running:
        ready = asyncio.Event()
        self.task = asyncio.ensure_future(self.node.run(self.stop, ready.set))
        async with asyncio.timeout(30):
            await ready.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop.set()
        await self.task
        await self.elsewhere.close()


async def test_what_was_accepted_is_written(tmp_path: Path) -> None:
    async with Running(tmp_path, "admin", "tandem.sqlite") as running:
        await running.bus.submit(message("m1"), running.clock())
        await until(lambda: not running.bus._unarchived)
        page = await running.history.page(ALICE, Span(), 10)
        assert [item.message.id for item in page.items] == ["m1"]


async def test_the_other_roles_leave_it_to_the_admin_at_first(tmp_path: Path) -> None:
    async with Running(tmp_path, "xmpp", "tandem.sqlite") as running:
        await running.bus.submit(message("m1"), running.clock())
        assert await running.bus.lease("archiver", "admin-1/a", 8)
        running.clock.now += FAST.beat + 8
        await until(lambda: not running.bus._unarchived)


async def test_a_database_that_is_away_is_no_lost_bus(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Running(tmp_path, "admin", "away/tandem.sqlite") as running:
        await running.bus.submit(message("m1"), running.clock())
        await until(lambda: running.node._archive_waits)
        assert len(running.bus._unarchived) == 1
        (tmp_path / "away").mkdir()
        await running.elsewhere.migrate()
        await until(lambda: not running.bus._unarchived)
        await until(lambda: not running.node._archive_waits)
    said = capsys.readouterr().out
    assert said.count("archive_waits") == said.count("archive_goes_on") == 1
    assert "bus_lost" not in said
