"""The load process (`bench.load`), and how who measures gives it orders."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any


class Silent(Exception):
    """It died, or says nothing any more."""


class Generator:
    """One phase after the other: what happens between `begin` and `end` is what is measured."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._seconds = 0.0

    async def begin(self, seconds: float, rate: float = 0) -> None:
        """As fast as it goes when `rate` is 0, else so many operations a second."""
        self._seconds = seconds
        self.order(seconds=seconds, rate=rate)
        await self.told("begin")

    async def end(self) -> dict[str, Any]:
        """`bench.load.Load.report`."""
        return await self.told("end")

    def order(self, **what: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what).encode() + b"\n")

    async def told(self, mark: str) -> dict[str, Any]:
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(120 + self._seconds):
                line = await self._process.stdout.readline()
        except TimeoutError:
            line = b""
        if not line:
            raise Silent(f"the load generator never said {mark}")
        said: dict[str, Any] = json.loads(line)
        assert said.pop("mark") == mark, said
        return said


@contextlib.asynccontextmanager
async def generator(module: str, **task: Any) -> AsyncIterator[Generator]:
    """One that is ready. `module`: whose `prepare(task)` makes its load."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from bench.load import serve; serve()",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    try:
        made = Generator(process)
        made.order(module=module, **task)
        await made.told("ready")
        yield made
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
