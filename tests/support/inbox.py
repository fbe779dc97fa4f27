"""What a client under test has received; tests take from it what they expect, in any order, in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

PATIENCE = 30.0
"Seconds a test waits for what must come. Generous, as machines are busy: it only costs when a test fails."


class Inbox(Generic[T]):
    """Items arrive by `put`; `take` waits for the first that fits and removes it."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.history: list[T] = []
        "Everything that ever arrived."
        self._waiting: list[T] = []
        self._takers: list[tuple[Callable[[T], bool], asyncio.Future[T]]] = []

    def put(self, item: T) -> None:
        self.history.append(item)
        for index, (fits, future) in enumerate(self._takers):
            if not future.done() and fits(item):
                del self._takers[index]
                future.set_result(item)
                return
        self._waiting.append(item)

    async def take(self, what: str, fits: Callable[[T], bool], patience: float = PATIENCE) -> T:
        """The first item that fits, past or to come. `what` names it in the failure."""
        for index, item in enumerate(self._waiting):
            if fits(item):
                return self._waiting.pop(index)
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._takers.append((fits, future))
        try:
            async with asyncio.timeout(patience):
                return await future
        except TimeoutError:
            self._takers = [taker for taker in self._takers if taker[1] is not future]
            seen = "\n".join(f"  {item}" for item in self._waiting[-12:]) or "  nothing"
            raise AssertionError(
                f"{self.owner} waited {patience:g} s for {what}; instead there was:\n{seen}"
            ) from None

    def matching(self, fits: Callable[[T], bool]) -> list[T]:
        """All that arrived so far and fits, taken or not."""
        return [item for item in self.history if fits(item)]

    def untaken(self) -> list[T]:
        """What has arrived and was not taken."""
        return list(self._waiting)

    def forget(self) -> None:
        """Drop what has arrived, so that the next `take` sees only what is to come."""
        self._waiting.clear()
