"""Sockets and connections of one process: who may connect, and which flow leads where."""

from __future__ import annotations

import asyncio
import itertools
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Protocol

import structlog

from presence.edge.sockets import bound
from presence.ports import Metrics
from sip.edge.sockets import local_address
from sip.edge.stream import Connection
from sip.edge.udp import UdpSocket
from sip.edge.vestibule import Vestibule
from sip.errors import FramingError
from sip.flow import Flow
from sip.settings import SipSettings
from sip.uri import write_hostport

log = structlog.get_logger()

_BACKLOG = 1024


class Above(Protocol):
    """What sits on the flows."""

    def received(self, data: bytes, flow: Flow) -> None: ...
    def unframed(self, head: bytes, status: int, flow: Flow) -> None: ...
    def flow_lost(self, flow: Flow) -> None: ...


class Connected(Protocol):
    """One connection: a stream's, or a WebSocket."""

    local: str
    "Host of our end."
    port: int
    heard: float
    "Loop time of the last bytes."
    begun: float
    "Loop time of the first bytes of a message that is not yet whole; 0 while there is none."
    since: float
    outgoing: bool
    "We have opened it."
    names: frozenset[str]
    "What the peer's certificate names, verified."

    def send(self, data: bytes) -> bool: ...
    def close(self) -> None: ...
    def began(self) -> None: ...
    def ended(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Listening:
    """An open listening socket."""

    transport: str
    host: str
    port: int


class Listener:
    """To be made inside the running loop."""

    def __init__(self, settings: SipSettings, above: Above, metrics: Metrics, *, share_ports: bool) -> None:
        self._settings = settings
        self._above = above
        self._metrics = metrics
        self._share_ports = share_ports
        self.loop = asyncio.get_running_loop()
        self.max_outbound = settings.max_outbound
        self.lost_timeout = settings.lost_timeout
        self.received: Callable[[bytes, Flow], None] = above.received
        self.pace: Callable[[Flow, int], float] = lambda flow, messages: 0.0
        "Seconds for which a connection is not read after so many messages came on it."
        self.listening: list[Listening] = []
        self._udp: dict[str, UdpSocket] = {}
        self._servers: list[asyncio.Server] = []
        self._connections: dict[Flow, Connected] = {}
        self._vestibules: list[Vestibule] = []
        self._per_network: Counter[str] = Counter()
        self._knocks = 0
        "Who is still at the TLS handshake."
        self._serials = itertools.count(1)

    # --- life -----------------------------------------------------------------------------------

    async def start(self, context: ssl.SSLContext | None) -> None:
        """Open all sockets, or none. Raises `OSError` with the address."""
        settings = self._settings
        try:
            for text in settings.listen_udp:
                for sock in bound(text, socket.SOCK_DGRAM, share=self._share_ports):
                    self._open_udp(sock)
            for text in settings.listen_tcp:
                for sock in bound(text, socket.SOCK_STREAM, share=self._share_ports):
                    await self._open_stream(sock, "tcp", None)
            for text in settings.listen_tls if context is not None else ():
                for sock in bound(text, socket.SOCK_STREAM, share=self._share_ports):
                    await self._open_stream(sock, "tls", context)
        except OSError:
            self.close()
            raise
        for one in self.listening:
            log.info("sip_listening", transport=one.transport, host=one.host, port=one.port)

    def _open_udp(self, sock: socket.socket) -> None:
        opened = UdpSocket(sock, self._above.received)
        self._udp[opened.name] = opened
        self.listening.append(Listening("udp", opened.host, opened.port))

    async def _open_stream(self, sock: socket.socket, name: str, context: ssl.SSLContext | None) -> None:
        host, port = sock.getsockname()[:2]
        if context is None:
            server = await self.loop.create_server(
                lambda: Connection(self, name), sock=sock, backlog=_BACKLOG
            )
            self._servers.append(server)
        else:
            vestibule = Vestibule(sock, context, self, lambda over: Connection(self, name, ready=over))
            vestibule.open(_BACKLOG)
            self._vestibules.append(vestibule)
        self.listening.append(Listening(name, host, port))

    def stop_accepting(self) -> None:
        for server in self._servers:
            server.close()
        for vestibule in self._vestibules:
            vestibule.close()
        self._servers = []

    def close(self) -> None:
        """Everything, at once."""
        self.stop_accepting()
        for opened in self._udp.values():
            opened.close()
        self._udp = {}
        for vestibule in self._vestibules:
            vestibule.clear()
        self._vestibules = []
        for connection in list(self._connections.values()):
            connection.close()
        self.listening = []

    # --- connections ----------------------------------------------------------------------------

    def knock(self, network: str) -> bool:
        """See `sip.edge.vestibule.Doorkeeper`."""
        if self._is_full(network):
            return False
        self._per_network[network] += 1
        self._knocks += 1
        return True

    def entered(self, network: str) -> None:
        """See `sip.edge.vestibule.Doorkeeper`."""
        self._knocks -= 1
        self._leave(network)

    def _is_full(self, network: str) -> bool:
        settings = self._settings
        full = (
            len(self._connections) + self._knocks >= settings.max_connections
            or self._per_network[network] >= settings.max_connections_per_address
        )
        if full:
            self._metrics.count("sip_connections_refused_total")
        return full

    def _leave(self, network: str) -> None:
        self._per_network[network] -= 1
        if not self._per_network[network]:
            del self._per_network[network]

    def admit(self, connection: Connected, name: str, host: str, port: int) -> Flow | None:
        """A flow for a new connection; None when there are too many."""
        local = write_hostport(connection.local, connection.port)
        flow = Flow(name, local, host, port, next(self._serials))
        if self._is_full(flow.network):
            return None
        self._connections[flow] = connection
        self._per_network[flow.network] += 1
        connection.since = self.loop.time()
        return flow

    def left(self, connection: Connected, flow: Flow) -> None:
        if self._connections.pop(flow, None) is not None:
            self._leave(flow.network)
            self._above.flow_lost(flow)

    def unframed(self, connection: Connection, error: FramingError) -> None:
        """A stream lost its boundaries; the peer is told if it can be."""
        if connection.flow is not None and error.head:
            self._above.unframed(error.head, error.status, connection.flow)

    def close_idle(self, patience: Callable[[Flow], float]) -> None:
        """Hang up on who is silent for too many seconds, and on who does not finish what it says. The latter
        is not answered: the time for an answer is over (RFC 4320 §4.2)."""
        now = self.loop.time()
        unfinished = now - self._settings.message_timeout
        for flow, connection in list(self._connections.items()):
            if 0 < connection.begun < unfinished:
                self._metrics.count("sip_bad_messages_total")
                connection.close()
            elif connection.heard < now - patience(flow):
                connection.close()
        self._metrics.gauge("sip_connections", len(self._connections))

    def connection(self, flow: Flow) -> Connected | None:
        return self._connections.get(flow)

    def connections(self) -> list[tuple[Flow, Connected]]:
        return list(self._connections.items())

    # --- connections of our own -----------------------------------------------------------------

    async def connect(
        self, transport: str, host: str, port: int, context: ssl.SSLContext | None, name: str
    ) -> Flow:
        """A new connection to a peer that `name` must be proven by. Raises `OSError`."""
        own = self._own_address(transport, host)
        _, connection = await self.loop.create_connection(
            lambda: Connection(self, transport, outgoing=True),
            host,
            port,
            local_addr=(own, 0) if own else None,
            ssl=context,
            server_hostname=name if context is not None else None,
        )
        if connection.flow is None:
            raise ConnectionRefusedError("too many connections")
        return connection.flow

    def _own_address(self, transport: str, peer: str) -> str:
        """What we connect from where we listen on certain addresses only: peers know us by them."""
        for one in self.listening:
            if one.transport == transport and (":" in one.host) == (":" in peer):
                return "" if one.host in ("::", "0.0.0.0") else one.host
        return ""

    def datagrams(self, host: str, port: int) -> Flow:
        """The flow of datagrams to an address. Raises `OSError` when no socket reaches it."""
        for name, opened in self._udp.items():
            if opened.takes(host):
                return Flow("udp", name, host, port)
        raise OSError("no UDP socket of that address family")

    def names(self, flow: Flow) -> frozenset[str]:
        """What the certificate of a connection's peer names; proven."""
        connection = self._connections.get(flow)
        return connection.names if connection is not None else frozenset()

    # --- flows ----------------------------------------------------------------------------------

    def send(self, flow: Flow, data: bytes) -> bool:
        """False when the flow is dead."""
        if flow.transport == "udp":
            opened = self._socket(flow)
            return opened is not None and opened.send(flow, data)
        connection = self._connections.get(flow)
        return connection is not None and connection.send(data)

    def _socket(self, flow: Flow) -> UdpSocket | None:
        """The one it came in on; after a change of configuration, any that can reach the peer."""
        opened = self._udp.get(flow.local)
        if opened is not None:
            return opened
        return next((other for other in self._udp.values() if other.takes(flow.host)), None)

    def alive(self, flow: Flow) -> bool:
        if flow.transport == "udp":
            return self._socket(flow) is not None
        return flow in self._connections

    def own_hostport(self, flow: Flow) -> str:
        """Where the peer finds us on this flow's transport: for Via and Contact."""
        if flow.transport == "udp":
            opened = self._socket(flow)
            port = opened.port if opened is not None else 5060
            host = opened.host if opened is not None and opened.host not in ("::", "0.0.0.0") else ""
            host = host or local_address(flow.host)
        else:
            connection = self._connections.get(flow)
            port = connection.port if connection is not None and not connection.outgoing else 0
            port = port or self._port(flow.transport)
            host = connection.local if connection is not None else local_address(flow.host)
        return write_hostport(self._settings.advertise or host, port)

    def _port(self, transport: str) -> int:
        """Where we accept connections of that kind; those of our own have other ports."""
        return next((one.port for one in self.listening if one.transport == transport), 5060)

    def is_here(self, host: str) -> bool:
        """A name or address of this server itself."""
        if host == self._settings.advertise.lower():
            return bool(host)
        try:
            ip_address(host)
        except ValueError:
            return False
        # An address of this machine is reached from itself.
        return local_address(host) == host
