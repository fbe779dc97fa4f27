"""One connection to Redis or Valkey: every command of a loop turn in one write, answers in order.

After a lost connection it comes back by itself and sends again what may be sent twice; callers only see
`Unavailable` when that took longer than their patience.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import hiredis
import structlog

from presence.edge.server import Server
from presence.errors import Unavailable

log = structlog.get_logger()

PATIENCE = 5.0
"Seconds a command waits for its answer, over reconnections."
WAITING_LIMIT = 100_000
"Commands without an answer; beyond that callers are refused at once."
LEISURE = 0.02
"Seconds a call nobody waits for may lie here, for others to go with it: each write wakes the server."
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 1.0
NOT_LOADED = "ERR Function not found"
ELSEWHERE = ("READONLY", "LOADING", "MASTERDOWN", "NOREPLICAS", "UNBLOCKED", NOT_LOADED)
"Errors that mean: not this server, not now, or not without our functions; connect again and repeat."
THERE = "already exists"
"What is said to a library that is loaded once more."

FIRST, AGAIN = b"0", b"1\r\n"
Word = bytes | str | int | float


class ReplyError(Exception):
    """The server's error answer."""


class Waiting(Protocol):
    """Who waits for an answer: a future, or the many whose calls went out as one."""

    def done(self) -> bool: ...
    def set_result(self, result: Any, /) -> None: ...
    def set_exception(self, exception: Any, /) -> None: ...


class Command:
    """What was asked, and who waits for it."""

    __slots__ = ("again", "data", "deadline", "future", "number", "numbered")

    def __init__(
        self,
        data: bytes | Callable[[], tuple[Word, ...]],
        future: Waiting,
        deadline: float,
        again: bool,
        numbered: bool = False,
        number: tuple[Word, ...] = (),
    ) -> None:
        """`data`: the bytes, or what tells the words when they are about to be written."""
        self.data = data
        self.future = future
        self.deadline = deadline
        self.again = again
        self.numbered = numbered
        self.number = number

    def written(self) -> bytes:
        data = self.data
        if not isinstance(data, bytes):
            data = self.data = hiredis.pack_command(cast(Any, (*data(), *self.number)))
        return data

    def repeated(self) -> Command:
        """To be sent again: of a numbered one, the last word says so."""
        if self.numbered:
            self.data = self.written()[: -len(AGAIN)] + AGAIN
        return self


class Link(asyncio.Protocol):
    """Start with `start()`, end with `close()`; `call` may be used before, between and after connections."""

    def __init__(
        self,
        server: Server,
        *,
        name: str,
        setup: Sequence[tuple[Word, ...]] = (),
        patience: float = PATIENCE,
    ) -> None:
        """`name`: for CLIENT LIST. `setup`: commands repeated on each new connection (FUNCTION LOAD)."""
        self._server = server
        self._name = name
        self._setup = setup
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(replyError=ReplyError)
        self._transport: asyncio.WriteTransport | None = None
        self._ready = False
        self._paused = False
        self._closed = False
        self.key = f"t:link:{os.urandom(8).hex()}"
        "Where scripts keep the number of the last call they have done for this link."
        self.breaks = 0
        "Connections that were lost."
        self._number = 0
        self._scheduled = False
        self._leisurely: asyncio.TimerHandle | None = None
        "When what nobody waits for goes out at last."
        self._queue: deque[Command] = deque()
        "Not written yet."
        self._sent: deque[Command] = deque()
        "Written, unanswered."
        self._lost = asyncio.Event()
        self._lost.set()
        self._connected = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._watch: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Connect. Raises `Unavailable` after one patience; it then keeps trying until closed."""
        self._keeper = self._loop.create_task(self._keep(), name=f"link {self._name}")
        self._look()
        try:
            async with asyncio.timeout(self._patience):
                await self._connected.wait()
        except TimeoutError:
            raise Unavailable(f"no bus at {self._server}") from None

    async def close(self) -> None:
        self._closed = True
        if self._watch is not None:
            self._watch.cancel()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._transport is not None:
            self._flush()
            self._transport.close()
        self._fail([*self._sent, *self._queue], "the bus was closed")
        self._sent.clear()
        self._queue.clear()

    def call(
        self, *words: Word, again: bool = True, numbered: bool = False, patience: float = 0.0
    ) -> asyncio.Future[Any]:
        """Send one command. The future gives its answer, or `Unavailable`, or `ReplyError`.

        `again`: may be repeated when the connection broke before its answer. `numbered`: appends this link's
        key, the number of the call and whether it is repeated, so that scripts do once what they hear twice.
        """
        future = self._loop.create_future()
        if numbered:
            words = (*words, *self._numbered())
        data = hiredis.pack_command(cast(Any, words))
        deadline = self._loop.time() + (patience or self._patience)
        self._enqueue(Command(data, future, deadline, again, numbered))
        return future

    def call_batch(
        self,
        words: Callable[[], tuple[Word, ...]],
        waiting: Waiting,
        *,
        numbered: bool = False,
        urgent: bool = True,
    ) -> None:
        """As `call`, in this place of the order, with words that are asked for when they are written. What is
        not `urgent` goes with the next call that is, or a moment later."""
        number = self._numbered() if numbered else ()
        deadline = self._loop.time() + self._patience
        self._enqueue(Command(words, waiting, deadline, True, numbered, number), urgent=urgent)

    def hurry(self) -> None:
        """Everything goes out with the end of this loop turn."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _numbered(self) -> tuple[Word, ...]:
        self._number += 1
        return (self.key, self._number, FIRST)

    def _enqueue(self, command: Command, *, urgent: bool = True) -> None:
        if self._closed or len(self._queue) + len(self._sent) >= WAITING_LIMIT:
            command.future.set_exception(
                Unavailable("the bus is closed" if self._closed else "the bus is overloaded")
            )
            return
        self._queue.append(command)
        if urgent:
            self.hurry()
        elif self._leisurely is None:
            self._leisurely = self._loop.call_later(LEISURE, self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        if self._leisurely is not None:
            self._leisurely.cancel()
            self._leisurely = None
        if not self._ready or self._paused or not self._queue or self._transport is None:
            return
        queue = self._queue
        self._transport.write(b"".join([command.written() for command in queue]))
        self._sent.extend(queue)
        queue.clear()

    # --- asyncio.Protocol ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._paused = False
        self._reader = hiredis.Reader(replyError=ReplyError)
        self._lost.clear()

    def data_received(self, data: bytes) -> None:
        reader, sent = self._reader, self._sent
        reader.feed(data)
        while True:
            try:
                reply = reader.gets()
            except hiredis.ProtocolError:
                self._drop("protocol error")
                return
            if reply is False:
                return
            if not sent:
                self._drop("an answer nobody asked for")
                return
            command = sent[0]
            if isinstance(reply, ReplyError):
                if str(reply).startswith(ELSEWHERE):
                    self._drop(str(reply))
                    return
                sent.popleft()
                if not command.future.done():
                    command.future.set_exception(reply)
                continue
            sent.popleft()
            if not command.future.done():
                command.future.set_result(reply)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        self.breaks += self._ready
        self._ready = False
        self._transport = None
        self._connected.clear()
        repeat = [command.repeated() for command in self._sent if command.again]
        self._fail((command for command in self._sent if not command.again), "the bus was lost on the way")
        self._sent.clear()
        self._queue.extendleft(reversed(repeat))
        self._lost.set()

    # --- coming back --------------------------------------------------------------------------

    async def _keep(self) -> None:
        pause = 0.0
        while True:
            await asyncio.sleep(pause * random.uniform(0.7, 1.3))
            try:
                async with asyncio.timeout(self._patience):
                    await self._server.connect(lambda: self)
                    await self._greet()
            except (OSError, Unavailable, ReplyError) as error:
                if pause == 0.0:
                    log.warning("bus_unreachable", server=str(self._server), error=str(error))
                self._drop(str(error))
                await self._lost.wait()
                pause = min(max(pause * 2, FIRST_PAUSE), LONGEST_PAUSE)
                continue
            log.info("bus_connected", server=str(self._server), link=self._name)
            pause = FIRST_PAUSE
            self._ready = True
            self._connected.set()
            self._flush()
            await self._lost.wait()

    async def _greet(self) -> None:
        """Authenticate and prepare a new connection, before anything that waits is written."""
        server = self._server
        greeting: list[tuple[Word, ...]] = []
        if server.password:
            greeting.append(("AUTH", *((server.user,) if server.user else ()), server.password))
        if server.db:
            greeting.append(("SELECT", str(server.db)))
        if server.service:
            greeting.append(("ROLE",))
        greeting += [("CLIENT", "SETNAME", self._name), ("PING",), *self._setup]
        deadline = self._loop.time() + self._patience
        futures: list[asyncio.Future[Any]] = [self._loop.create_future() for _ in greeting]
        commands = [
            Command(hiredis.pack_command(cast(Any, words)), future, deadline, again=False)
            for words, future in zip(greeting, futures, strict=True)
        ]
        if self._transport is None:
            raise Unavailable("the connection closed at once")
        self._sent.extend(commands)
        self._transport.write(b"".join([command.written() for command in commands]))
        answers = await asyncio.gather(*futures, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not str(answer).endswith(THERE):
                raise answer
        if server.service and answers[greeting.index(("ROLE",))][0] != b"master":  # type: ignore[index]
            raise Unavailable("Sentinel named a server that is not the master (yet)")

    def _drop(self, reason: str) -> None:
        if self._transport is not None:
            log.warning("bus_dropped", server=str(self._server), link=self._name, reason=reason)
            self.breaks += self._ready
            self._ready = False
            self._transport.abort()

    def _look(self) -> None:
        """Twice a second: fail what waited too long, and drop a connection that does not answer."""
        self._watch = self._loop.call_later(0.5, self._look)
        now = self._loop.time()
        if self._sent and self._sent[0].deadline < now:
            self._fail([self._sent[0]], "the bus does not answer")
            self._sent[0].again = False
            self._drop("no answer")
        late = [command for command in self._queue if command.deadline < now] if not self._ready else []
        if late:
            self._fail(late, f"no bus at {self._server}")
            self._queue = deque(command for command in self._queue if command.deadline >= now)

    @staticmethod
    def _fail(commands: Any, why: str) -> None:
        for command in commands:
            if not command.future.done():
                command.future.set_exception(Unavailable(why))
