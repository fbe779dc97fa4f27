"""A client that sends exactly the bytes a test wrote, and shows the bytes that came back."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from types import TracebackType
from typing import Self

from tests.support.trust import trusting

PATIENCE = 30.0
HEADER = (
    b"<?xml version='1.0'?><stream:stream to='example.org' version='1.0' xmlns='jabber:client' "
    b"xmlns:stream='http://etherx.jabber.org/streams'>"
)
STARTTLS = b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
BIND = b"<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"


def auth(message: bytes, mechanism: str = "PLAIN") -> bytes:
    encoded = base64.b64encode(message)
    return b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='%s'>%s</auth>" % (
        mechanism.encode(),
        encoded,
    )


LOGIN = auth(b"\0alice\0secret")


class RawClient:
    """`async with RawClient(server.where()) as client`."""

    def __init__(self, where: tuple[str, int], *, direct: bool = False) -> None:
        self.where = where
        self.direct = direct
        self.seen = b""
        "Everything received and not asked for yet."

    async def __aenter__(self) -> Self:
        context = trusting() if self.direct else None
        name = "example.org" if self.direct else None
        self.reader, self.writer = await asyncio.open_connection(
            *self.where, ssl=context, server_hostname=name
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.transport.abort()
        with contextlib.suppress(OSError, ssl.SSLError):
            await self.writer.wait_closed()

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def until(self, wanted: bytes) -> bytes:
        """What comes up to and including these bytes."""
        async with asyncio.timeout(PATIENCE):
            while wanted not in self.seen:
                data = await self.reader.read(65536)
                assert data, f"ended before {wanted!r}: {self.seen!r}"
                self.seen += data
        cut = self.seen.index(wanted) + len(wanted)
        got, self.seen = self.seen[:cut], self.seen[cut:]
        return got

    async def rest(self) -> bytes:
        """What comes until the server ends the connection."""
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                while data := await self.reader.read(65536):
                    self.seen += data
        got, self.seen = self.seen, b""
        return got

    async def ask(self, data: bytes, wanted: bytes) -> bytes:
        self.send(data)
        return await self.until(wanted)

    async def features(self) -> bytes:
        """Open a stream."""
        return await self.ask(HEADER, b"</stream:features>")

    async def secure(self) -> bytes:
        """Through STARTTLS to the features behind it."""
        await self.features()
        await self.ask(STARTTLS, b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        await self.writer.start_tls(trusting(), server_hostname="example.org")
        return await self.features()

    async def log_in(self) -> bytes:
        """Through everything to a bound resource; the answer to binding."""
        await (self.features() if self.direct else self.secure())
        await self.ask(LOGIN, b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
        await self.features()
        return await self.ask(BIND, b"</iq>")
