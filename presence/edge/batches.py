"""Calls of one loop turn that go to the server as one: what a call costs there is mostly the calling.

A batch takes the place of its first call in the link's order, and what is called behind another call begins a
new one: nothing overtakes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from presence.edge.link import Link, ReplyError, Waiting, Word
from presence.errors import Unavailable

MOST = 64
"Calls in a batch, so that the server gets to others in between."


class Batch:
    """Implements `presence.edge.link.Waiting` for everybody in it."""

    __slots__ = ("_head", "_keys", "_waiting", "_words", "full")

    def __init__(self, head: tuple[Word, ...]) -> None:
        self.full = False
        "Nothing more may be added: it was written, or given up."
        self._head = head
        self._keys: list[Word] = []
        self._words: list[Word] = []
        self._waiting: list[Waiting] = []

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: Word, words: tuple[Word, ...], waiting: Waiting) -> None:
        self._keys.append(key)
        self._words += words
        self._waiting.append(waiting)

    def words(self) -> tuple[Word, ...]:
        self.full = True
        function, *common = self._head
        return (b"FCALL", function, len(self._keys), *self._keys, *common, *self._words)

    def done(self) -> bool:
        return False

    def set_result(self, result: list[Any], /) -> None:
        for waiting, answer in zip(self._waiting, result, strict=True):
            if waiting.done():
                continue
            if isinstance(answer, ReplyError):
                waiting.set_exception(Unavailable(str(answer)))
            else:
                waiting.set_result(answer)

    def set_exception(self, exception: Exception, /) -> None:
        self.full = True
        lost = exception if isinstance(exception, Unavailable) else Unavailable(str(exception))
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(lost)


class Asked:
    """Implements `presence.edge.link.Waiting` for somebody who is called back."""

    __slots__ = ("_then",)

    def __init__(self, then: Callable[[Any], None]) -> None:
        self._then = then

    def done(self) -> bool:
        return False

    def set_result(self, result: object, /) -> None:
        self._then(result)

    def set_exception(self, lost: Unavailable, /) -> None:
        self._then(lost)


class Told:
    """Implements `presence.edge.link.Waiting` for somebody who only wants to be told."""

    __slots__ = ("_then",)

    def __init__(self, then: Callable[[Unavailable | None], None]) -> None:
        self._then = then

    def done(self) -> bool:
        return False

    def set_result(self, _result: object, /) -> None:
        self._then(None)

    def set_exception(self, lost: Unavailable, /) -> None:
        self._then(lost)


class Batches:
    """One function's calls. `close` whenever something else is called on the link."""

    __slots__ = ("_head", "_link", "_loop", "_numbered", "_open")

    def __init__(
        self, link: Link, head: Callable[[int], tuple[Word, ...]], *, numbered: bool = False
    ) -> None:
        """`head`: the function's name and what a batch's calls have in common, at the time of the first."""
        self._link = link
        self._head = head
        self._numbered = numbered
        self._open: Batch | None = None
        self._loop = asyncio.get_running_loop()

    def call(self, now: float, key: Word, *words: Word) -> asyncio.Future[Any]:
        """One call; the future gives its answer, or `Unavailable`."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._add(now, key, words, future)
        return future

    def ask(self, then: Callable[[Any], None], now: float, key: Word, *words: Word) -> None:
        """One call; `then` hears its answer, or `Unavailable`."""
        self._add(now, key, words, Asked(then))

    def tell(self, then: Callable[[Unavailable | None], None], now: float, key: Word, *words: Word) -> None:
        """One call whose answer nobody waits for."""
        self._add(now, key, words, Told(then), urgent=False)

    def _add(
        self, now: float, key: Word, words: tuple[Word, ...], waiting: Waiting, *, urgent: bool = True
    ) -> None:
        batch = self._open
        if batch is None or batch.full or len(batch) >= MOST:
            batch = self._open = Batch(self._head(int(now * 1000)))
            batch.add(key, words, waiting)
            self._link.call_batch(batch.words, batch, numbered=self._numbered, urgent=urgent)
        else:
            batch.add(key, words, waiting)
            if urgent or len(batch) == MOST:
                self._link.hurry()

    def close(self) -> None:
        self._open = None
