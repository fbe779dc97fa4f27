"""XMPP over HTTP: the routes of the door."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from xmpp.edge.bosh import Bosh
from xmpp.edge.listener import Listener
from xmpp.edge.visitor import visitor
from xmpp.edge.websocket import WebSocketStream
from xmpp.settings import XmppSettings
from xmpp.web import (
    BOSH_PATH,
    WEBSOCKET_PATH,
    Origins,
    links,
    write_host_meta,
    write_host_meta_json,
)
from xmpp.websocket import SUBPROTOCOL

ANYWHERE = {"Access-Control-Allow-Origin": "*"}
"For what tells nobody more than it tells everybody."
PREFLIGHT = {
    "Access-Control-Allow-Methods": "POST, OPTIONS",
    "Access-Control-Allow-Headers": "Content-Type",
    "Access-Control-Max-Age": "86400",
}
NOT_THIS_PAGE = "pages of this origin may not connect: see the setting xmpp.web.origins\n"


class XmppWeb:
    """Answers HTTP while the door is open."""

    def __init__(
        self,
        settings: XmppSettings,
        domains: Sequence[str],
        listener: Callable[[], Listener | None],
        sockets: Path | None = None,
        node: str = "",
    ) -> None:
        """`listener`: None while the door is shut. `sockets`, `node`: see `Bosh`."""
        self._settings = settings
        self._listener = listener
        self._bosh = Bosh(settings, listener, sockets, node)
        self._origins = Origins(settings.web.origins, tuple(domains), settings.web.public_url)

    async def start(self) -> None:
        """Be found by the other processes of this host. Raises `OSError`."""
        if self._bosh.neighbours is not None:
            await self._bosh.neighbours.start()

    async def stop(self) -> None:
        if self._bosh.neighbours is not None:
            await self._bosh.neighbours.stop()

    def routes(self) -> list[BaseRoute]:
        return [
            WebSocketRoute(WEBSOCKET_PATH, self._websocket),
            Route(BOSH_PATH, self._http_bind, methods=["POST", "OPTIONS"]),
            Route("/.well-known/host-meta", self._host_meta, methods=["GET"]),
            Route("/.well-known/host-meta.json", self._host_meta, methods=["GET"]),
        ]

    def _allowed(self, connection: HTTPConnection) -> bool:
        headers = connection.headers
        secure = visitor(connection).secure
        return self._origins.allow(headers.get("origin"), headers.get("host", ""), secure=secure)

    async def _websocket(self, websocket: WebSocket) -> None:
        """RFC 7395 §3.1."""
        listener = self._listener()
        if SUBPROTOCOL not in websocket.scope["subprotocols"]:
            refusal = Response("the WebSocket subprotocol xmpp is wanted\n", 400)
        elif not self._allowed(websocket):
            refusal = Response(NOT_THIS_PAGE, 403)
        elif listener is None:
            refusal = Response("shutting down\n", 503)
        else:
            await websocket.accept(SUBPROTOCOL)
            await WebSocketStream(listener, websocket, visitor(websocket)).run()
            return
        await websocket.send_denial_response(refusal)

    async def _http_bind(self, request: Request) -> Response:
        """XEP-0124; pages of other origins are let in by CORS (Fetch Standard §3.2)."""
        origin = request.headers.get("origin")
        if not self._allowed(request):
            return Response(NOT_THIS_PAGE, 403)
        shared = {"Access-Control-Allow-Origin": origin, "Vary": "Origin"} if origin is not None else {}
        if request.method == "OPTIONS":
            return Response(headers=shared | PREFLIGHT)
        return await self._bosh.answer(request, shared)

    async def _host_meta(self, request: Request) -> Response:
        """XEP-0156 §3: addresses over TLS only."""
        base = self._settings.web.public_url
        if not base and visitor(request).secure:
            base = f"https://{request.url.netloc}"
        if not base.startswith("https://"):
            return Response("set xmpp.web.public_url, or ask over https\n", 404, ANYWHERE)
        if request.url.path.endswith(".json"):
            return Response(write_host_meta_json(links(base)), 200, ANYWHERE, "application/jrd+json")
        return Response(write_host_meta(links(base)), 200, ANYWHERE, "application/xrd+xml")
