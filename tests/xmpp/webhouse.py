"""XMPP over HTTP on free loopback ports, with an `EchoServer` behind it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from gateway.web import WebServer
from tests.support.trust import trusting
from tests.xmpp.echo import EchoServer
from xmpp.edge.web import XmppWeb
from xmpp.settings import WebSettings, XmppSettings

OPEN = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='example.org' version='1.0'/>"
CLOSE = "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>"
PLAIN = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGFsaWNlAHNlY3JldA==</auth>"
BIND = "<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"


class WebHouse:
    """`server` is the door behind it."""

    def __init__(self, server: EchoServer, web: WebServer) -> None:
        self.server = server
        self.web = web

    def url(self, scheme: str, path: str) -> str:
        _, host, port = next(one for one in self.web.listening if one[0] == scheme.replace("ws", "http"))
        return f"{scheme}://{host}:{port}{path}"

    @contextlib.asynccontextmanager
    async def websocket(
        self, scheme: str = "wss", *, origin: str | None = None, headers: dict[str, str] | None = None
    ) -> AsyncIterator[ClientConnection]:
        async with connect(
            self.url(scheme, "/xmpp-websocket"),
            ssl=trusting() if scheme == "wss" else None,
            server_hostname="example.org" if scheme == "wss" else None,
            subprotocols=[Subprotocol("xmpp")],
            origin=Origin(origin) if origin else None,
            additional_headers=headers,
            proxy=None,
        ) as connection:
            yield connection


@contextlib.asynccontextmanager
async def webhouse(
    directory: Path, *, web: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[WebHouse]:
    given = XmppSettings(web=WebSettings(**(web or {})), **settings)
    async with EchoServer(directory, settings=given) as server:
        xmpp = XmppWeb(server.realm.settings, server.realm.domains, lambda: server.listener)
        http = WebServer(
            xmpp.routes(),
            plain=["127.0.0.1:0"],
            tls=["127.0.0.1:0"],
            certificate=directory / "cert.pem",
            key=directory / "key.pem",
            max_message=2 * given.max_stanza,
            proxies=given.web.trusted_proxies,
        )
        await http.start()
        try:
            yield WebHouse(server, http)
        finally:
            http.shut()
            await server.listener.stop()
            await http.stop()


async def said(connection: ClientConnection, message: str, *, answers: int = 1) -> list[str]:
    """The next messages after ours."""
    await connection.send(message)
    return [str(await connection.recv()) for _ in range(answers)]


async def log_in(connection: ClientConnection) -> str:
    """To a bound resource; returns the answer to binding."""
    await said(connection, OPEN, answers=2)
    await said(connection, PLAIN)
    await said(connection, OPEN, answers=2)
    return (await said(connection, BIND))[0]
