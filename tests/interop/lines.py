"""Foreign libraries as programs: a command a line in, what happens a line out, both in JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.inbox import PATIENCE, Inbox

Event = dict[str, Any]


class Program:
    """One of the `*_client.py` beside this file."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.told: Inbox[Event] = Inbox(name)

    async def read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            if line.startswith(b"{"):
                self.told.put(json.loads(line))
            else:
                self.told.put({"printed": line.decode(errors="replace").rstrip()})

    def do(self, *words: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(words).encode() + b"\n")

    async def tells(
        self, event: str, what: str = "", fits: Callable[[Event], bool] = lambda _: True, **fields: Any
    ) -> Event:
        """The next event of that name with those fields."""

        def right(told: Event) -> bool:
            same = all(told.get(name) == value for name, value in fields.items())
            return told.get("event") == event and same and fits(told)

        return await self.told.take(what or f"{event} {fields}", right, PATIENCE * 2)


@asynccontextmanager
async def program(name: str, *arguments: str) -> AsyncIterator[Program]:
    """Run `NAME_client.py`; it has told that it is ready."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(Path(__file__).with_name(f"{name}_client.py")), *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    running = Program(name, process)
    reading = asyncio.create_task(running.read())
    try:
        await running.tells("ready")
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading
