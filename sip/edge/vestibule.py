"""Where TLS is negotiated. Who is still at it counts like a connection: asyncio by itself keeps as many as
come, each for as long as a handshake may take."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from typing import Protocol

from presence.guarding import network_of
from sip.edge.sockets import plain_host

HANDSHAKE = 10.0
"Seconds."
_AT_ONCE = 64
"Connections taken before others get their turn."
_SHORT = 1.0
"Seconds until it is tried again when the machine has no room for another connection."
_NO_ROOM = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class Doorkeeper(Protocol):
    """Who says how many there may be."""

    def knock(self, network: str) -> bool:
        """Somebody comes in; False when there are too many."""

    def entered(self, network: str) -> None:
        """Somebody is in, or has gone again."""


Make = Callable[[Callable[[], None]], asyncio.Protocol]
"A connection, which calls what it is given when it is made."


class Vestibule:
    """Accepts on a listening socket."""

    def __init__(
        self, sock: socket.socket, context: ssl.SSLContext, doorkeeper: Doorkeeper, make: Make
    ) -> None:
        self._sock = sock
        self._context = context
        self._doorkeeper = doorkeeper
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._again: asyncio.TimerHandle | None = None
        self._open = False

    def __len__(self) -> int:
        """How many are in it."""
        return len(self._tasks)

    def open(self, backlog: int) -> None:
        self._sock.listen(backlog)
        self._sock.setblocking(False)
        self._open = True
        self._watch()

    def _watch(self) -> None:
        self._again = None
        if self._open:
            self._loop.add_reader(self._sock.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                sock, address = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in _NO_ROOM:
                    self._loop.remove_reader(self._sock.fileno())
                    self._again = self._loop.call_later(_SHORT, self._watch)
                return
            network = network_of(plain_host(str(address[0])))
            if not self._doorkeeper.knock(network):
                sock.close()
                continue
            sock.setblocking(False)
            task = self._loop.create_task(self._shake_hands(sock, network))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _shake_hands(self, sock: socket.socket, network: str) -> None:
        waiting = True

        def over() -> None:
            nonlocal waiting
            if waiting:
                waiting = False
                self._doorkeeper.entered(network)

        try:
            await self._loop.connect_accepted_socket(
                lambda: self._make(over), sock, ssl=self._context, ssl_handshake_timeout=HANDSHAKE
            )
        except OSError:
            pass  # the peer's TLS was none, or it took too long, or it has gone
        finally:
            over()

    def close(self) -> None:
        """Nobody comes in any more; who is at the handshake may finish it."""
        if self._open:
            self._open = False
            if self._again is None:
                self._loop.remove_reader(self._sock.fileno())
            else:
                self._again.cancel()
            self._sock.close()

    def clear(self) -> None:
        """Nor that."""
        self.close()
        for task in self._tasks:
            task.cancel()
