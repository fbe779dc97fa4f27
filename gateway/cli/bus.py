"""The bus of a gateway that may be running, for commands."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway import config
from gateway.cli.app import fail
from gateway.exits import Exit
from gateway.wiring import Backend, backend, valkey_dir
from presence.edge.embedded import answers, socket_path
from presence.errors import Refused, Unavailable

T = TypeVar("T")

PATIENCE = 10.0
"Seconds a command waits for bus and store."


async def has_bus(chosen: config.Settings) -> bool:
    """False when the embedded one is meant, and nobody runs it."""
    return bool(chosen.bus.url) or await answers(socket_path(valkey_dir(chosen)))


def with_bus(chosen: config.Settings, use: Callable[[Backend], Awaitable[T]]) -> T:
    """Do something with bus and store; what is wrong ends the command."""

    async def work() -> T:
        if not await has_bus(chosen):
            raise Unavailable
        made = backend(chosen, "cli")
        try:
            async with asyncio.timeout(PATIENCE):
                await made.connect()
                return await use(made)
        finally:
            await made.close()

    try:
        return asyncio.run(work())
    except Refused as refusal:
        fail(refusal.text)
    except (Unavailable, TimeoutError):
        fail("bus or store cannot be reached: is Tandem running?", Exit.NOT_RUNNING)
