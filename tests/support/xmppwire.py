"""A raw XMPP stream for protocol-level tests: what is sent is what the test wrote, byte for byte.

Knows just enough of RFC 6120 to get in (STARTTLS, SASL PLAIN, binding); builds and checks nothing else.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from types import TracebackType
from typing import Any, Self
from xml.etree.ElementTree import Element, ParseError, XMLPullParser

from tests.support.inbox import PATIENCE
from tests.support.trust import trusting

STREAMS = "{http://etherx.jabber.org/streams}"
TLS = "{urn:ietf:params:xml:ns:xmpp-tls}"
SASL = "{urn:ietf:params:xml:ns:xmpp-sasl}"


class StreamClosed(AssertionError):
    """The server ended the connection while a test waited for something."""


class RawStream:
    """`async with RawStream(server, domain) as stream`, then `send` and `element`."""

    def __init__(self, server: tuple[str, int], domain: str, *, direct_tls: bool = False) -> None:
        self.server = server
        self.domain = domain
        self.direct_tls = direct_tls
        self.header: dict[str, str] = {}
        "Attributes of the server's stream header."

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection(
            *self.server,
            ssl=trusting() if self.direct_tls else None,
            server_hostname=self.domain if self.direct_tls else None,
        )
        self._restart()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await self.writer.wait_closed()

    def _restart(self) -> None:
        self._parser: XMLPullParser[Any] = XMLPullParser(("start", "end"))
        self._depth = 0
        self._ready: list[Element] = []
        self._root: Element | None = None

    def send(self, data: str | bytes) -> None:
        self.writer.write(data.encode() if isinstance(data, str) else data)

    async def element(self, patience: float = PATIENCE) -> Element:
        """The next child of the stream, whole. Raises `StreamClosed` at its end."""
        async with asyncio.timeout(patience):
            while not self._ready:
                await self._more()
        return self._ready.pop(0)

    async def _more(self) -> None:
        try:
            data = await self.reader.read(65536)
        except (OSError, ssl.SSLError) as error:
            raise StreamClosed(str(error)) from error
        if not data:
            raise StreamClosed("end of file")
        try:
            self._parser.feed(data)
            events: list[Any] = list(self._parser.read_events())
        except ParseError as error:
            raise AssertionError(f"the server sent what is not XML: {data!r}") from error
        for event, item in events:
            if event == "start":
                self._depth += 1
                if self._depth == 1:
                    self._root = item
                    self.header = dict(item.attrib)
                continue
            self._depth -= 1
            if self._depth == 1:
                self._ready.append(item)
            elif self._depth == 0 and not self._ready:
                raise StreamClosed("end of stream")

    async def open(self, *, sender: str = "") -> Element:
        """(Re)start the stream; returns its features."""
        self._restart()
        from_ = f" from='{sender}'" if sender else ""
        self.send(
            f"<?xml version='1.0'?><stream:stream to='{self.domain}'{from_} version='1.0' "
            "xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
        )
        features = await self.element()
        assert features.tag == f"{STREAMS}features", features.tag
        return features

    async def starttls(self) -> Element:
        """Open, upgrade and open again; returns the features behind TLS."""
        await self.open()
        self.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        answer = await self.element()
        assert answer.tag == f"{TLS}proceed", answer.tag
        await self.writer.start_tls(trusting(), server_hostname=self.domain)
        return await self.open()

    async def authenticate(self, user: str, password: str) -> Element:
        """SASL PLAIN; returns success or failure."""
        proof = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
        self.send(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{proof}</auth>")
        return await self.element()

    async def bind(self, resource: str = "") -> str:
        """The full JID the server gave."""
        wish = f"<resource>{resource}</resource>" if resource else ""
        self.send(
            f"<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>{wish}</bind></iq>"
        )
        answer = await self.element()
        jid = answer.findtext(".//{urn:ietf:params:xml:ns:xmpp-bind}jid")
        assert jid, f"no resource bound: {answer.attrib}"
        return jid

    async def login(self, user: str, password: str, resource: str = "") -> str:
        """All of it, up to a bound resource."""
        await (self.open() if self.direct_tls else self.starttls())
        answer = await self.authenticate(user, password)
        assert answer.tag == f"{SASL}success", answer.tag
        await self.open()
        return await self.bind(resource)

    async def ended(self, patience: float = PATIENCE) -> None:
        """Wait until the server has ended the stream or the connection."""
        with contextlib.suppress(StreamClosed):
            while True:
                await self.element(patience)
