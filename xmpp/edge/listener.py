"""Listening for clients: sockets, admission, and what all connections share."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from presence.address import Address
from presence.edge.heap import Heap
from presence.edge.sockets import bound
from presence.guarding import network_of
from presence.ports import Metrics
from xmpp.component import Component
from xmpp.edge.clientstream import ClientStream
from xmpp.edge.component import ComponentConnection
from xmpp.edge.connection import Connection
from xmpp.edge.tls import Identity
from xmpp.errors import StreamError
from xmpp.realm import Realm

log = structlog.get_logger()

_BACKLOG = 1024
_SWEEP = 15.0
"Seconds between looks for connections that have fallen silent."
_SILENT = 10.0
"Seconds of silence after which a connection gives memory back."


@dataclass(frozen=True, slots=True)
class Listening:
    """An open listening socket."""

    host: str
    port: int
    direct: bool
    "TLS from the first byte (XEP-0368)."


class Listener:
    """All client connections of this process. To be made inside the running loop."""

    def __init__(
        self,
        realm: Realm,
        identity: Identity,
        metrics: Metrics,
        *,
        share_ports: bool = False,
        components: dict[str, Component] | None = None,
    ) -> None:
        """`components`: by their domains; none may connect where there are none."""
        self._components = components or {}
        self.realm = realm
        self.identity = identity
        "What new connections are shown; replaced at reload."
        self.metrics = metrics
        self.share_ports = share_ports
        "Several processes listen on the same ports, and the kernel spreads the clients."
        self.max_outbound = realm.settings.max_outbound
        self.listening: list[Listening] = []
        self.connections: set[ClientStream] = set()
        self._strangers: set[ClientStream] = set()
        "Connections that are not logged in."
        self._servers: list[asyncio.Server] = []
        self._per_network: Counter[str] = Counter()
        self._strangers_per_network: Counter[str] = Counter()
        self._leaving: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._heap = Heap()
        self._left = asyncio.Event()
        "One more connection or session has gone."
        self._stopping = False
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()

    # --- life -------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open all listening sockets, or none. Raises `OSError` with the address."""
        settings = self.realm.settings
        wanted: list[tuple[str, bool, Callable[[], Connection]]] = []
        wanted += [(a, False, partial(Connection, self, direct=False)) for a in settings.listen]
        wanted += [(a, True, partial(Connection, self, direct=True)) for a in settings.listen_tls]
        if self._components:
            make = partial(ComponentConnection, self, self._components)
            wanted += [(a, False, make) for a in settings.listen_components]
        try:
            for address, direct, make_connection in wanted:
                for sock in bound(address, socket.SOCK_STREAM, share=self.share_ports):
                    _watch(sock, settings.lost_timeout)
                    await self._serve(sock, direct, make_connection)
        except OSError:
            self._close_servers()
            raise
        self._sweeper = self.loop.call_later(_SWEEP, self._sweep)
        for one in self.listening:
            log.info("xmpp_listening", host=one.host, port=one.port, tls=one.direct)

    async def _serve(self, sock: socket.socket, direct: bool, make: Callable[[], Connection]) -> None:
        server = await self.loop.create_server(make, sock=sock, backlog=_BACKLOG)
        self._servers.append(server)
        host, port = sock.getsockname()[:2]
        self.listening.append(Listening(host, port, direct))

    def _close_servers(self) -> None:
        for server in self._servers:
            server.close()
        self._servers = []
        self.listening = []

    async def stop(self) -> None:
        """Stop accepting, tell every client `system-shutdown`, wait for them as long as the settings say."""
        self._stopping = True
        self._close_servers()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self.connections):
            connection.shut_down()
        try:
            async with asyncio.timeout(self.realm.settings.drain_timeout):
                while self.connections or self._leaving:
                    self._left.clear()
                    await self._left.wait()
        except TimeoutError:
            log.warning(
                "xmpp_drain_incomplete", connections=len(self.connections), closing=len(self._leaving)
            )
        for connection in list(self.connections):
            connection.abort()
        for task in list(self._leaving):
            task.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A connection's worker. The connection holds it; `forget` takes it over when the connection is
        gone."""
        return self.loop.create_task(work)

    # --- connections ------------------------------------------------------------------------------------

    def admit(self, connection: ClientStream) -> bool:
        """Count a new connection; False when there are too many."""
        settings = self.realm.settings
        network = network_of(connection.peer)
        if (
            self._stopping
            or len(self.connections) >= settings.max_connections
            or self._per_network[network] >= settings.max_connections_per_address
            or self._strangers_per_network[network] >= settings.max_logging_in_per_address
        ):
            self.metrics.count("xmpp_connections_refused_total")
            return False
        self.connections.add(connection)
        self._per_network[network] += 1
        self._strangers.add(connection)
        self._strangers_per_network[network] += 1
        self.metrics.count("xmpp_connections_total")
        self.metrics.gauge("xmpp_connections", len(self.connections))
        return True

    def logged_in(self, connection: ClientStream) -> None:
        if connection in self._strangers:
            self._strangers.discard(connection)
            _take_one(self._strangers_per_network, network_of(connection.peer))

    def show_out(self, address: Address, error: StreamError) -> None:
        """Whoever has proved to be that person, and has no resource yet."""
        for connection in list(self.connections):
            if not connection.bound and connection.proven == address:
                connection.close(error)

    def strangers(self) -> list[dict[str, Any]]:
        """Connections without a bound resource, for `tandem sessions`."""
        return [connection.describe() for connection in self.connections if not connection.bound]

    def forget(self, connection: ClientStream, worker: asyncio.Task[None] | None) -> None:
        """The connection is over; its worker may still be telling the session."""
        if worker is not None:
            self._leaving.add(worker)
            worker.add_done_callback(self._worker_left)
        if connection in self.connections:
            self.logged_in(connection)
            self.connections.discard(connection)
            _take_one(self._per_network, network_of(connection.peer))
            self.metrics.gauge("xmpp_connections", len(self.connections))
        self._left.set()

    def _worker_left(self, worker: asyncio.Task[None]) -> None:
        self._leaving.discard(worker)
        self._left.set()

    def _sweep(self) -> None:
        silent_since = self.loop.time() - _SILENT
        parked = [each.park() for each in self.connections if each.heard < silent_since]
        if any(parked):
            self._heap.give_back()
        self._sweeper = self.loop.call_later(_SWEEP, self._sweep)


def _watch(sock: socket.socket, lost_timeout: float) -> None:
    """Let the kernel find out about peers that vanished: what it accepts here inherits this."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(lost_timeout * 1000))


def _take_one(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
