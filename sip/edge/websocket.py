"""SIP over WebSocket (RFC 7118): one message per frame, on a flow like any other connection's.

The HTTP server in front does the handshake, bounds frames, and pings. What a browser registers as its contact
(`….invalid`) names no host: it is reached over its connection, as every phone here is.

Left out: authentication in the handshake (RFC 7118 §7); requests are authenticated as on any transport.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Coroutine
from typing import TYPE_CHECKING, Any

from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from sip.edge.sockets import client_of, plain_host
from sip.framer import Keepalive

if TYPE_CHECKING:
    from sip.edge.listener import Listener
    from sip.flow import Flow

SUBPROTOCOL = "sip"
PATHS = ("/sip", "/ws", "/")
"Where clients look for it: our own, and what phones in browsers have as default."
_IN_FLIGHT = 64
"Requests of one connection that may wait for their answer before reading pauses."

_LONGEST_HOLD = 5.0
"Seconds without reading, however much came."

Endpoint = Callable[[WebSocket], Coroutine[Any, Any, None]]


def endpoint(listener: Callable[[], Listener | None], origins: Collection[str]) -> Endpoint:
    """What answers a WebSocket handshake. `origins`: of pages that may connect, in lower case; `*`: all."""

    async def answer(socket: WebSocket) -> None:
        origin = socket.headers.get("origin")
        here = listener()
        if SUBPROTOCOL not in socket.scope["subprotocols"]:
            # RFC 7118 §4.2; without the subprotocol it is not known what the frames would be.
            await _deny(socket, 400, "the WebSocket subprotocol is sip")
        elif origin is not None and "*" not in origins and origin.lower() not in origins:
            await _deny(socket, 403, "this origin may not connect (sip.web_origins)")
        elif here is None:
            await _deny(socket, 503, "not now")
        else:
            await WebSocketConnection(here, socket).serve()

    return answer


async def _deny(socket: WebSocket, status: int, text: str) -> None:
    await socket.send_denial_response(PlainTextResponse(text + "\n", status))


class WebSocketConnection:
    """Implements `sip.edge.listener.Connected`."""

    def __init__(self, listener: Listener, socket: WebSocket) -> None:
        self._listener = listener
        self._socket = socket
        self._out: deque[bytes] = deque()
        self._waiting = 0
        "Bytes in `_out`."
        self._wake = asyncio.Event()
        self._readable = asyncio.Event()
        self._readable.set()
        self._in_flight = 0
        self._closing = False
        self._reader: asyncio.Task[None] | None = None
        host, port = socket.scope.get("server") or ("", 0)
        self.local, self.port = plain_host(host), int(port or 0)
        self.heard = listener.loop.time()
        self.begun = 0.0
        self.since = 0.0
        self.outgoing = False
        self.names: frozenset[str] = frozenset()

    async def serve(self) -> None:
        """From the handshake to the end of the connection."""
        name = "wss" if self._socket.url.scheme == "wss" else "ws"
        host, port = client_of(self._socket)
        flow = self._listener.admit(self, name, host, port)
        if flow is None:
            await _deny(self._socket, 503, "too many connections")
            return
        writer = None
        try:
            await self._socket.accept(subprotocol=SUBPROTOCOL)
            self._reader = asyncio.ensure_future(self._read(flow))
            writer = asyncio.ensure_future(self._write())
            await asyncio.wait((self._reader, writer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._closing = True
            tasks = [task for task in (self._reader, writer) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._listener.left(self, flow)

    async def _read(self, flow: Flow) -> None:
        while True:
            await self._readable.wait()
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            data: bytes = text.encode() if text is not None else message["bytes"]
            self.heard = self._listener.loop.time()
            if data.strip(b"\r\n"):
                self._listener.received(data, flow)
            elif data == Keepalive.PING.value:
                # RFC 7118 §6: keep-alives of RFC 5626 §3.5.1 are usable here, too.
                self.send(Keepalive.PONG.value)
            wait = self._listener.pace(flow, 1)
            if wait:
                await asyncio.sleep(min(wait, _LONGEST_HOLD))

    async def _write(self) -> None:
        while True:
            while self._out:
                data = self._out.popleft()
                self._waiting -= len(data)
                try:
                    await self._frame(data)
                except WebSocketDisconnect:
                    return
            if self._closing:
                if self._socket.application_state is WebSocketState.CONNECTED:
                    await self._socket.close()
                return
            self._wake.clear()
            await self._wake.wait()

    async def _frame(self, data: bytes) -> None:
        try:
            text = data.decode()
        except UnicodeDecodeError:
            await self._socket.send_bytes(data)
        else:
            await self._socket.send_text(text)

    # --- the way out ----------------------------------------------------------------------------

    def send(self, data: bytes) -> bool:
        """Queue one message. False when the connection is gone."""
        if self._closing:
            return False
        self._out.append(data)
        self._waiting += len(data)
        self._wake.set()
        if self._waiting > self._listener.max_outbound:
            # It does not read. What was meant for it waits on the bus.
            self.abort()
        return True

    def close(self) -> None:
        """Behind what is still to be sent."""
        self._closing = True
        self._wake.set()

    def abort(self) -> None:
        self._closing = True
        if self._reader is not None:
            self._reader.cancel()

    # --- back-pressure --------------------------------------------------------------------------

    def began(self) -> None:
        """A request of this connection is being worked on."""
        self._in_flight += 1
        if self._in_flight >= _IN_FLIGHT:
            self._readable.clear()

    def ended(self) -> None:
        self._in_flight -= 1
        if self._in_flight < _IN_FLIGHT // 2:
            self._readable.set()
