"""What the server needs of an event loop, as a port: `xmpp.edge.runtime` implements it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol


class Timer(Protocol):
    def cancel(self) -> None: ...


class Gate(Protocol):
    """Something to wait at."""

    def open(self) -> None:
        """Let all pass who wait, and who come."""

    def shut(self) -> None: ...

    async def passed(self) -> None:
        """Returns when the gate is open."""


class Runtime(Protocol):
    def now(self) -> float:
        """Unix seconds."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it soon; what is spawned first begins first. An exception is logged and counted."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer: ...

    async def sleep(self, seconds: float) -> None: ...

    def gate(self) -> Gate:
        """A new gate, open."""
