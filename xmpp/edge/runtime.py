"""asyncio behind the port `xmpp.runtime.Runtime`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from presence.ports import Metrics
from xmpp.runtime import Timer

log = structlog.get_logger()


class LoopGate:
    """Has an `asyncio.Event` only while somebody waits."""

    __slots__ = ("_event", "_open")

    def __init__(self) -> None:
        self._open = True
        self._event: asyncio.Event | None = None

    def open(self) -> None:
        self._open = True
        if self._event is not None:
            self._event.set()
            self._event = None

    def shut(self) -> None:
        self._open = False

    async def passed(self) -> None:
        if not self._open:
            if self._event is None:
                self._event = asyncio.Event()
            await self._event.wait()


class LoopRuntime:
    """Tasks of the running loop, held until they are done."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._metrics.count("xmpp_task_crashes_total")
            log.error("xmpp_task_crashed", exc_info=error)

    def now(self) -> float:
        return time.time()

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_later(delay, callback)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def gate(self) -> LoopGate:
        return LoopGate()

    async def drain(self, seconds: float) -> None:
        """Wait for what is under way, then cancel the rest."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
