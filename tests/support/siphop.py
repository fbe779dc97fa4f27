"""A next hop for tests: listens, keeps what it is sent, and answers as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.support.inbox import Inbox
from tests.support.sipwire import Framer, SipMessage, parse


class Hop:
    """What arrived, and over what."""

    def __init__(self, status: int = 200, **fields: str) -> None:
        self.status = status
        "Answered to everything; 0: silence."
        self.fields = fields
        self.requests: Inbox[SipMessage] = Inbox("the next hop")
        self.port = 0
        self.connections = 0
        self._open: set[Any] = set()

    def took(self, data: bytes) -> bytes | None:
        request = parse(data) if isinstance(data, bytes) else data
        if request.is_response:
            return None
        self.requests.put(request)
        if not self.status:
            return None
        copied = [(name, value) for name in _COPIED for value in request.all(name)]
        return SipMessage(f"SIP/2.0 {self.status} Whatever", [*copied, *self.fields.items()]).encode()

    def hang_up(self) -> None:
        """Close every connection, as a proxy does with idle ones."""
        for transport in list(self._open):
            transport.close()


_COPIED = ("Via", "Record-Route", "From", "To", "Call-ID", "CSeq")


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, hop: Hop) -> None:
        self.hop = hop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        answer = self.hop.took(data)
        if answer is not None:
            self.transport.sendto(answer, addr)


class _Stream(asyncio.Protocol):
    def __init__(self, hop: Hop) -> None:
        self.hop = hop
        self.framer = Framer()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.hop.connections += 1
        self.hop._open.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.hop._open.discard(self.transport)

    def data_received(self, data: bytes) -> None:
        for message in self.framer.feed(data):
            answer = self.hop.took(message.encode())
            if answer is not None:
                self.transport.write(answer)


@asynccontextmanager
async def next_hop(
    transport: str = "udp",
    *,
    status: int = 200,
    port: int = 0,
    host: str = "127.0.0.1",
    context: ssl.SSLContext | None = None,
    **fields: str,
) -> AsyncIterator[Hop]:
    hop = Hop(status, **{name.replace("_", "-"): value for name, value in fields.items()})
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as opened:
        if transport == "udp":
            datagrams, _ = await loop.create_datagram_endpoint(
                lambda: _Datagrams(hop), local_addr=(host, port)
            )
            opened.callback(datagrams.close)
            hop.port = datagrams.get_extra_info("sockname")[1]
        else:
            server = await loop.create_server(lambda: _Stream(hop), host, port, ssl=context)
            opened.callback(server.close)
            opened.callback(hop.hang_up)
            hop.port = server.sockets[0].getsockname()[1]
        yield hop
