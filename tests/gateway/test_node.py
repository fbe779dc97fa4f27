"""`gateway.node`: arriving, serving, outages, and leaving, on the bus in memory."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.exits import Exit
from gateway.metrics import DictMetrics
from gateway.node import DEAD_AFTER, Node, Pace
from gateway.wiring import Backend
from presence.address import parse_address
from presence.edge.accounts import AccountSettings, open_accounts
from presence.edge.sql import SqlStore
from presence.errors import Unavailable
from presence.memory import MemoryBus
from presence.model import PresenceTuple, Source
from presence.ports import AccountChanged, Envelope, Inbound, Inquiry, Lease, NodeInfo, SourceWrite, Update
from presence.service import PresenceService

ALICE = parse_address("alice@example.org")
FAST = Pace(beat=0.01, janitor=0.01, inbox=0.05, lag=0.01)


class RecordingDoor:
    """A `Door` that remembers."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.received: list[Envelope] = []
        self.on_start: Callable[[], Any] | None = None
        self.refuses: OSError | None = None
        self.fails = False

    async def start(self) -> None:
        if self.refuses:
            raise self.refuses
        if self.on_start:
            await self.on_start()
        self.log.append("started")

    async def stop(self) -> None:
        self.log.append("stopped")

    async def reload(self) -> None:
        self.log.append("reloaded")

    async def restate(self) -> None:
        self.log.append("restated")

    def receive(self, envelope: Envelope) -> None:
        if self.fails:
            self.fails = False
            raise ValueError("a defect")
        self.received.append(envelope)

    def sessions(self) -> list[dict[str, Any]]:
        return [{"kind": "xmpp", "address": f"{name}@example.org"} for name in ("alice", "bob")]


class OutageBus(MemoryBus):
    """A bus that can be switched off, and whose time stands still."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        super().__init__(clock=lambda: self.now)
        self.down = False

    async def join(self, info: NodeInfo) -> None:
        if self.down:
            raise Unavailable("switched off")
        await super().join(info)

    async def receive(self, node: str, timeout: float) -> list[Inbound]:  # noqa: ASYNC109
        if self.down:
            raise Unavailable("switched off")
        return await super().receive(node, timeout)


class Stage:
    """A node with everything around it."""

    def __init__(self, bus: OutageBus, door: RecordingDoor, backend: Backend) -> None:
        self.bus, self.door, self.backend = bus, door, backend
        self.stop = asyncio.Event()
        self.ready = asyncio.Event()

    @property
    def owner(self) -> str:
        return f"xmpp-1/{self.backend.incarnation}"

    async def run(self) -> Exit:
        node = Node(
            role="xmpp", backend=self.backend, door=self.door, drain=1, clock=lambda: self.bus.now, pace=FAST
        )
        return await node.run(self.stop, self.ready.set)

    async def source(self, owner: str) -> None:
        lease = Lease(owner=owner)
        write = SourceWrite(source=Source(id=f"xmpp:{owner}", tuples=(PresenceTuple(id="a"),)), lease=lease)
        await self.bus.commit(ALICE, Update(put_sources=(write,)), self.bus.now)

    async def sources(self) -> list[str]:
        (snapshot,) = await self.bus.snapshots([ALICE], self.bus.now)
        return [source.id for source in snapshot.sources]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[Exit]]:
        """Serving inside the block; whoever wants its exit code stops it there."""
        task = asyncio.ensure_future(self.run())
        async with asyncio.timeout(30):
            await self.ready.wait()
        try:
            yield task
        finally:
            self.stop.set()
            await task


async def until(holds: Callable[[], bool]) -> None:
    """Wait for it."""
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    bus = OutageBus()
    store = SqlStore(f"sqlite+aiosqlite:///{tmp_path}/tandem.sqlite")
    accounts = open_accounts(AccountSettings(), store)
    metrics = DictMetrics()

    async def connect() -> None:
        return None

    service = PresenceService(
        node="xmpp-1",
        incarnation="new",
        domains=frozenset({"example.org"}),
        bus=bus,
        store=store,
        accounts=accounts,
        metrics=metrics,
        clock=lambda: 1_000_000.0,
    )
    backend = Backend(
        node="xmpp-1",
        incarnation="new",
        connect=connect,
        bus=bus,
        store=store,
        accounts=accounts,
        metrics=metrics,
        service=service,
    )
    return Stage(bus, RecordingDoor(), backend)


async def test_what_an_earlier_incarnation_left_is_gone_before_the_door_opens(stage: Stage) -> None:
    await stage.source("xmpp-1/old")
    await stage.source("sip-1/other")
    seen: list[str] = []

    async def look() -> None:
        seen.extend(await stage.sources())

    stage.door.on_start = look
    async with stage.running():
        assert seen == ["xmpp:sip-1/other"]


async def test_stopping_closes_the_door_then_ends_what_lived_here_and_leaves(stage: Stage) -> None:
    async with stage.running() as task:
        await stage.source(stage.owner)
        assert [node.name for node in await stage.bus.nodes()] == ["xmpp-1"]
        stage.stop.set()
        assert await task is Exit.OK
    assert stage.door.log == ["started", "stopped"]
    assert await stage.sources() == []
    assert await stage.bus.nodes() == []


async def test_a_port_that_is_taken_is_a_configuration_error(stage: Stage) -> None:
    stage.door.refuses = OSError(errno.EADDRINUSE, "Address already in use")
    assert await stage.run() is Exit.CONFIG
    assert not stage.ready.is_set()


async def test_envelopes_reach_the_door_in_order_and_a_defect_there_ends_nothing(stage: Stage) -> None:
    async with stage.running():
        stage.door.fails = True
        first, second = (AccountChanged(address=ALICE, gone=gone) for gone in (False, True))
        await stage.bus.broadcast(first)
        await stage.bus.broadcast(first)
        await stage.bus.broadcast(second)
        await until(lambda: stage.door.received == [first, second])
        assert stage.backend.metrics.samples()['envelope_errors_total{kind="AccountChanged"}'] == 1


async def test_an_inquiry_is_answered_by_the_node_with_what_concerns_the_address(stage: Stage) -> None:
    async with stage.running():
        await stage.bus.broadcast(Inquiry(id="q1", asker="admin-1:answers", address="bob@example.org"))
        answers: dict[str, bytes] = {}
        async with asyncio.timeout(30):
            while not answers:
                answers = await stage.bus.records("admin-1:answers")
                await asyncio.sleep(0)
        assert {key: msgspec.json.decode(data) for key, data in answers.items()} == {
            "q1/xmpp-1": [{"kind": "xmpp", "address": "bob@example.org"}]
        }
        assert stage.door.received == []


async def test_an_unreachable_bus_is_survived(stage: Stage) -> None:
    async with stage.running():
        samples = stage.backend.metrics.samples
        await until(lambda: samples().get("bus_up") == 1)
        stage.bus.down = True
        await until(lambda: samples()["bus_up"] == 0)
        stage.bus.down = False
        await until(lambda: samples()["bus_up"] == 1)
        change = AccountChanged(address=ALICE)
        await stage.bus.broadcast(change)
        await until(lambda: stage.door.received == [change])
        assert stage.door.log == ["started"]


async def test_after_a_break_the_door_says_again_what_the_bus_may_have_lost(stage: Stage) -> None:
    async with stage.running():
        stage.bus.breaks += 1
        await until(lambda: stage.door.log == ["started", "restated"])


async def test_a_node_that_was_declared_dead_starts_anew_and_touches_nothing(stage: Stage) -> None:
    async with stage.running() as task:
        await stage.bus.sweep("xmpp-1", None, stage.bus.now)
        successor = NodeInfo(name="xmpp-1", role="xmpp", incarnation="next", started=0, beat=stage.bus.now)
        await stage.bus.join(successor)
        async with asyncio.timeout(30):
            assert await task is Exit.RETRY
    assert await stage.bus.nodes() == [successor]


async def test_a_silent_node_is_swept_after_ten_seconds(stage: Stage) -> None:
    dead = NodeInfo(name="sip-1", role="sip", incarnation="x", started=0, beat=stage.bus.now)
    await stage.bus.join(dead)
    await stage.source("sip-1/x")
    async with stage.running():
        stage.bus.now += DEAD_AFTER + 1
        async with asyncio.timeout(30):
            while [node.name for node in await stage.bus.nodes()] != ["xmpp-1"]:  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert await stage.sources() == []
