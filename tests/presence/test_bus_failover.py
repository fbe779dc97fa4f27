"""presence/edge/server.py: under Sentinel, the bus follows the master."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis.asyncio as redis

from presence.edge.embedded import find_server
from presence.edge.redis import RedisBus
from tests.support.buses import ALICE, LAPTOP, message, put
from tests.support.ports import free_port
from tests.support.waiting import until

NOW = 1_800_000_000.0


class Fleet:
    """A master, its replica, and one Sentinel that watches them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.master, self.replica, self.sentinel = (free_port() for _ in range(3))
        self.processes: dict[int, asyncio.subprocess.Process] = {}

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.sentinel}/people"

    async def start(self) -> None:
        common = ("--bind", "127.0.0.1", "--save", "", "--repl-diskless-sync-delay", "0")
        await self._spawn(self.master, *common)
        await self._spawn(self.replica, *common, "--replicaof", "127.0.0.1", str(self.master))
        config = self.directory / "sentinel.conf"
        config.write_text(
            f"bind 127.0.0.1\nsentinel monitor people 127.0.0.1 {self.master} 1\n"
            "sentinel down-after-milliseconds people 300\nsentinel failover-timeout people 2000\n"
        )
        await self._spawn(self.sentinel, str(config), "--sentinel")
        async with redis.Redis(port=self.replica) as replica:
            await until("the replica follows", lambda: _linked(replica), 30)
        async with redis.Redis(port=self.sentinel) as sentinel:
            await until("the Sentinel knows the replica", lambda: _knows_replica(sentinel), 30)

    async def _spawn(self, port: int, *arguments: str) -> None:
        head = [a for a in arguments if a.endswith(".conf")]
        rest = [a for a in arguments if not a.endswith(".conf")]
        self.processes[port] = await asyncio.create_subprocess_exec(
            find_server(),
            *head,
            "--port",
            str(port),
            "--dir",
            str(self.directory),
            *rest,
            stdout=asyncio.subprocess.DEVNULL,
        )
        async with redis.Redis(port=port) as server:
            await until("the server answers", lambda: _answers(server), 30)

    async def stop(self) -> None:
        for process in self.processes.values():
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _answers(server: redis.Redis) -> bool:
    try:
        return bool(await server.ping())
    except redis.ConnectionError:
        return False


async def _linked(replica: redis.Redis) -> bool:
    info = await replica.info("replication")
    return bool(info["master_link_status"] == "up")


async def _knows_replica(sentinel: redis.Redis) -> bool:
    return len(await sentinel.sentinel_slaves("people")) == 1


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    fleet = Fleet(tmp_path)
    try:
        await fleet.start()
        yield fleet
    finally:
        await fleet.stop()


async def test_the_bus_goes_on_with_the_replica_when_the_master_dies(fleet: Fleet) -> None:
    async with RedisBus(fleet.url, patience=20) as bus:
        await put(bus, NOW, LAPTOP)
        await bus.submit(message("before"), NOW)
        async with redis.Redis(port=fleet.replica) as replica:
            await until("the replica has the message", lambda: _has_pending(replica), 30)
        os.kill(fleet.processes[fleet.master].pid, signal.SIGKILL)
        await bus.submit(message("after"), NOW)
        state = await bus.inspect(ALICE, NOW)
    assert {"before", "after"} <= set(map(str, _ids(state)))


async def _has_pending(replica: redis.Redis) -> bool:
    return bool(await replica.keys("t:{*}:pending"))


def _ids(state: object) -> list[str]:
    return [name for name in ("before", "after") if name in repr(state)]
