"""HTTP and WebSocket for a door that has routes, and for the admin: uvicorn inside the node's own loop,
without its signal handling.

uvicorn bounds neither the size of a request's head nor the time it may take, nor what comes behind its body,
nor how many connections one network has; `Guarded` does. Bodies are bounded by who reads them. On a WebSocket
it counts no frames that are no message, and waits for ever for who does not read; `Parting` does not.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import CloseCode, Frame

from gateway.certs import server_context
from presence.edge.names import Files, NamedContexts, show_by_name
from presence.edge.sockets import bound
from presence.guarding import Exempt, network_of
from xmpp.rate import Allowance

log = structlog.get_logger()

MAX_HEAD = 65_536
"Bytes of a request line and its headers."
HEAD_TIMEOUT = 20.0
"Seconds from the connection, or a request's first byte, to the end of its head."
PING = 60.0
"Seconds between pings on a WebSocket, and for the answer."
MAX_WEB_CONNECTIONS = 10_000
MAX_PER_NETWORK = 2_500
"Of these, from one IPv4 address or one IPv6 /64; proxies that hide who is behind them are not counted."
UNREAD = 60.0
"Seconds the peer's network may leave what was sent without a word, or with no room for it (Linux)."
MAX_FRAGMENTS = 1024
"Frames of one WebSocket message."
CONTROL_RATE = 5.0
"Pings and pongs a second on one WebSocket over longer times."
CONTROL_BURST = 20.0
"Seconds' worth of that which may come at once."
SLICE = 16_384
"Bytes of a WebSocket's frames looked at before they are judged."
PARTING = 15.0
"Seconds a WebSocket that is over has to take what was sent to it: longer than uvicorn waits for its close."


class Crowd:
    """How many connections each network has."""

    def __init__(self, most: int, exempt: Sequence[str]) -> None:
        self._most = most
        self._exempt = Exempt(exempt)
        self._here: Counter[str] = Counter()
        self._full: set[str] = set()
        "Networks that were turned away: said once."

    def enter(self, host: str) -> bool:
        """One more, unless its network has too many."""
        if host in self._exempt:
            return True
        network = network_of(host)
        if self._here[network] >= self._most:
            if network not in self._full:
                self._full.add(network)
                log.warning("web_network_full", network=network, connections=self._most)
            return False
        self._here[network] += 1
        return True

    def leave(self, host: str) -> None:
        """One that had entered."""
        if host in self._exempt:
            return
        network = network_of(host)
        self._here[network] -= 1
        if not self._here[network]:
            del self._here[network]
            self._full.discard(network)


class Guarded(HttpToolsProtocol):
    """A connection whose requests' heads are bounded in size and time, and the trailers of chunked bodies
    in size (RFC 9112 §7.1.2): uvicorn keeps those, also when it has answered long ago."""

    timeout = HEAD_TIMEOUT
    crowd: Crowd
    _counted = False
    _head = 0
    _trailing: int | None = None
    "Bytes since a body's last; None outside of bodies."
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._counted = self.crowd.enter(_host(self.client))
        if not self._counted:
            transport.abort()
            return
        _watch(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        if self._deadline is not None:
            self._head += len(data)
            # A body that comes along with its head has its own bound, at who reads it.
            if self._head > MAX_HEAD and b"\r\n\r\n" not in data:
                self._give_up()
                return
        if self._trailing is not None:
            self._trailing += len(data)
        super().data_received(data)
        if self._trailing is not None and self._trailing > MAX_HEAD:
            self._give_up()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._deadline is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        self._head_is_here()
        self._trailing = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._trailing = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._trailing = None
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_here()
        if self._counted:
            self.crowd.leave(_host(self.client))
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._head = 0
        self._deadline = self.loop.call_later(self.timeout, self._give_up)

    def _head_is_here(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._head_is_here()
        if not self.transport.is_closing():
            self.transport.abort()


class Parting(WebSocketsSansIOProtocol):
    """A WebSocket that may be closed by both ends at once, that nobody fills with answers unread or with
    frames that are no message, and that does not outlive its handler by more than a moment. It takes over
    from a `Guarded`, and its place among the crowd."""

    crowd: Crowd
    parting = PARTING
    _control: Allowance | None = None
    "Of pings and pongs."
    _going: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), SLICE):
            if self.transport.is_closing():
                return
            super().data_received(data[start : start + SLICE])

    def handle_cont(self, event: Frame) -> None:
        if len(self.frames) < MAX_FRAGMENTS:
            super().handle_cont(event)
        else:
            self._give_up("too many frames in one message")

    def handle_ping(self) -> None:
        """Who does not read is not answered every ping: only the last one counts (RFC 6455 §5.5.3)."""
        if not self._allowed():
            return
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()

    def handle_pong(self, event: Frame) -> None:
        if self._allowed():
            super().handle_pong(event)

    def _allowed(self) -> bool:
        now = self.loop.time()
        if self._control is None:
            self._control = Allowance(CONTROL_RATE, CONTROL_BURST, now)
        if not self._control.spend(1, now):
            return True
        self._give_up("too many pings")
        return False

    def _give_up(self, reason: str) -> None:
        if not self.close_sent:
            self.conn.fail(CloseCode.POLICY_VIOLATION, reason)
            self.handle_parser_exception()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self._part()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        self._part()

    def _part(self) -> None:
        """It is closed by now, unless the peer does not take what was sent."""
        if self._going is None and not self.disconnected:
            self._going = self.loop.call_later(self.parting, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._going is not None:
            self._going.cancel()
        self.crowd.leave(_host(self.client))
        super().connection_lost(exc)

    def shutdown(self) -> None:
        try:
            super().shutdown()
        except InvalidState:
            self.transport.close()


def _host(client: tuple[str, int] | None) -> str:
    return client[0] if client is not None else ""


def _watch(transport: asyncio.Transport) -> None:
    """Let the kernel find out about peers that vanished, or do not read."""
    sock = transport.get_extra_info("socket")
    if sock is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(UNREAD * 1000))


class WebServer:
    """Some routes on some addresses. To be made inside the running loop."""

    def __init__(
        self,
        routes: Sequence[Any],
        *,
        plain: Sequence[str] = (),
        tls: Sequence[str] = (),
        certificate: Path | None = None,
        key: Path | None = None,
        named: Files | None = None,
        max_message: int = MAX_HEAD,
        share_ports: bool = False,
        proxies: Sequence[str] = ("127.0.0.1", "::1"),
        head_timeout: float = HEAD_TIMEOUT,
        parting: float = PARTING,
        per_network: int = MAX_PER_NETWORK,
    ) -> None:
        """`routes`: Starlette's. `plain`, `tls`: addresses as `HOST:PORT`. `max_message`: bytes of one
        WebSocket message. `proxies`: addresses and networks whose X-Forwarded-For and X-Forwarded-Proto are
        believed, and who may have any number of connections. `head_timeout`: seconds for a request's head;
        `parting`: for a WebSocket's last words. `per_network`: connections of one network."""
        crowd = Crowd(per_network, proxies)
        self._protocol = type("Guarded", (Guarded,), {"timeout": head_timeout, "crowd": crowd})
        self._websocket = type("Parting", (Parting,), {"parting": parting, "crowd": crowd})
        self._app = Starlette(routes=list(routes))
        self._addresses = {"http": tuple(plain), "https": tuple(tls)}
        self._files = (certificate, key)
        self._named = NamedContexts(named or {}, server_context)
        self._max_message = max_message
        self._share_ports = share_ports
        self._proxies = list(proxies)
        self._context: ssl.SSLContext | None = None
        self._servers: list[tuple[uvicorn.Server, list[socket.socket]]] = []
        self.listening: list[tuple[str, str, int]] = []
        "Scheme, host and port of each open socket."

    async def start(self) -> None:
        """Open all addresses, or none. Raises `OSError` with the address."""
        certificate, key = self._files
        if self._addresses["https"]:
            assert certificate is not None
            assert key is not None
            self._context = await asyncio.to_thread(server_context, certificate, key)
            await asyncio.to_thread(self._named.load)
            show_by_name(self._context, self._named.contexts)
        opened: dict[str, list[socket.socket]] = {}
        try:
            for scheme, addresses in self._addresses.items():
                for address in addresses:
                    opened.setdefault(scheme, []).extend(
                        bound(address, socket.SOCK_STREAM, share=self._share_ports)
                    )
        except OSError:
            for sock in [each for sockets in opened.values() for each in sockets]:
                sock.close()
            raise
        for scheme, sockets in opened.items():
            await self._serve(scheme, sockets)

    async def _serve(self, scheme: str, sockets: list[socket.socket]) -> None:
        server = uvicorn.Server(
            uvicorn.Config(
                self._app,
                http=self._protocol,
                ws=self._websocket,
                ws_max_size=self._max_message,
                ws_ping_interval=PING,
                ws_ping_timeout=PING,
                ws_per_message_deflate=False,
                log_config=None,
                log_level="error",  # what is no HTTP is the peer's mistake, as often as it likes
                access_log=False,
                lifespan="off",
                server_header=False,
                date_header=False,
                limit_concurrency=MAX_WEB_CONNECTIONS,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=1,
                forwarded_allow_ips=self._proxies,
            )
        )
        # uvicorn's own steps without `serve()`, which would take the process's signals.
        server.config.load()
        if scheme == "https":
            server.config.ssl = self._context
        server.lifespan = server.config.lifespan_class(server.config)
        await server.startup(sockets=sockets)
        self._servers.append((server, sockets))
        for sock in sockets:
            host, port = sock.getsockname()[:2]
            self.listening.append((scheme, host, port))
            log.info("web_listening", scheme=scheme, host=host, port=port)

    def shut(self) -> None:
        """Accept nobody any more."""
        for server, _ in self._servers:
            for listening in server.servers:
                listening.close()

    async def stop(self) -> None:
        """Stop accepting, let requests end, close."""
        self.shut()
        for server, sockets in self._servers:
            server.should_exit = True
            for sock in sockets:
                sock.close()
        # uvicorn gives its clients a moment to leave, even where there are none.
        states = [(server, server.server_state) for server, _ in self._servers]
        busy = [server for server, state in states if state.connections or state.tasks]
        await asyncio.gather(*(server.shutdown() for server in busy))
        self._servers = []

    async def reload(self) -> None:
        """Show a renewed certificate from now on; the old one stays if it is broken."""
        certificate, key = self._files
        if self._context is None or certificate is None or key is None:
            return
        try:
            await asyncio.to_thread(server_context, certificate, key)
            self._context.load_cert_chain(certificate, key)
            await asyncio.to_thread(self._named.load)
        except OSError as error:
            log.error("web_certificate_unusable", certificate=str(certificate), error=str(error))
