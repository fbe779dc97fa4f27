"""aiosip: a foreign SIP library as a user agent; registers, publishes, subscribes, chats."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.inbox import Inbox
from tests.support.pidf import pidf
from tests.support.stage import Person, Stage

pytestmark = pytest.mark.interop


class Aiosip:
    """The program `aiosip_client.py`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.told: Inbox[dict[str, Any]] = Inbox("aiosip")

    async def read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            if line.startswith(b"{"):
                self.told.put(json.loads(line))
            else:
                self.told.put({"printed": line.decode(errors="replace").rstrip()})

    async def does(self, command: str, *words: str) -> int:
        """The status it got."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([command, *words]).encode() + b"\n")
        answer = await self.told.take(
            f"an answer to {command}", lambda t: t.get("answered") == command.upper()
        )
        return int(answer["status"])

    async def received(self, method: str, text: str) -> dict[str, Any]:
        return await self.told.take(
            f"{method} with {text}", lambda t: t.get("received") == method and text in t["body"]
        )


@asynccontextmanager
async def aiosip(stage: Stage, person: Person) -> AsyncIterator[Aiosip]:
    user, _, domain = person.address.partition("@")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(Path(__file__).with_name("aiosip_client.py")),
        user, domain, person.password, "127.0.0.1", str(stage.tandem.sip_port),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    client = Aiosip(process)
    reading = asyncio.create_task(client.read())
    try:
        await client.told.take("its start", lambda t: "ready" in t)
        yield client
    finally:
        process.kill()
        await process.wait()
        await reading


async def test_aiosip_registers_publishes_and_chats(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk, aiosip(stage, bob) as client:
        assert await client.does("register") == 200
        await desk.online(bob.address)
        assert await client.does("publish", pidf(bob.address, note="From a library")) == 200
        await desk.online(bob.address, status="From a library")

        assert await client.does("message", alice.address, "Hello from aiosip") == 200
        await desk.hears("Hello from aiosip")
        desk.say(bob.address, "Hello aiosip")
        await client.received("MESSAGE", "Hello aiosip")


async def test_aiosip_subscribes_and_sees(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk, aiosip(stage, bob) as client:
        assert await client.does("subscribe", alice.address) == 200
        await client.received("NOTIFY", "desk")
        desk.show("away", "Seen by a library")
        await client.received("NOTIFY", "Seen by a library")
