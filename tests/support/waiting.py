"""Waiting for what only polling can tell: processes, files, screens. Always with a deadline."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable


async def until(
    what: str, holds: Callable[[], bool | Awaitable[bool]], patience: float, pause: float = 0.05
) -> None:
    """Return once `holds` does."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    while True:
        answer = holds()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return
        if loop.time() > deadline:
            raise AssertionError(f"not within {patience:g} s: {what}")
        await asyncio.sleep(pause)
