"""XCAP over HTTP: reads requests, proves who asks, lets one change of a user's documents at a time in,
whichever process it comes to (RFC 4825 §8.2.6).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TypeVar
from urllib.parse import urlsplit

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from presence.address import Address
from presence.errors import Unavailable
from presence.ports import Metrics
from presence.service import PresenceService
from sip.edge.asking import not_before, target_of, who_asks
from sip.edge.sockets import client_of
from sip.limits import Rates
from sip.weblogin import HttpRefused, Login
from sip.xcap.conflicts import XcapError
from sip.xcap.server import METHODS, Question, Reply, XcapServer

log = structlog.get_logger()

BODY_TIMEOUT = 30.0
"Seconds a body may take."
_WAITING = 8
"Changes of one user's documents that may wait for each other."
_TURN, _LOOK = 10.0, 0.05
"Seconds a change waits for another process to be done, and between looks."
_LONGEST, _OVER = 60.0, 0.001
"Seconds a process may have it that died meanwhile, and that it has it when it is done."
_COST = 16_384
"Bytes that are as much work as one request more."

T = TypeVar("T")


class Aside:
    """Implements `sip.xcap.library.Aside` with a thread, one document at a time: the loop goes on meanwhile,
    and so do those who wait for a password to be checked."""

    def __init__(self) -> None:
        self._one = asyncio.Lock()

    async def __call__(self, work: Callable[[], T]) -> T:
        async with self._one:
            return await asyncio.to_thread(work)


class XcapWeb:
    """`root`: the path, or the whole URL, under which it is reached."""

    def __init__(
        self,
        server: XcapServer,
        service: PresenceService,
        login: Login,
        rates: Rates,
        metrics: Metrics,
        *,
        root: str,
        max_document: int,
    ) -> None:
        self._server = server
        self._service = service
        self._login = login
        self._rates = rates
        self._metrics = metrics
        self._path = urlsplit(root).path.rstrip("/")
        self._max_document = max_document
        self._busy: dict[Address, tuple[asyncio.Lock, int]] = {}

    def routes(self) -> list[Route]:
        return [Route(f"{self._path}/{{path:path}}", self._answer, methods=[*METHODS])]

    async def _answer(self, request: Request) -> Response:
        try:
            reply = await self._replied(request)
        except HttpRefused as error:
            body = f"{error.reason}\n".encode()
            reply = Reply(status=error.status, body=body, content_type="text/plain", headers=error.headers)
        except Unavailable:
            reply = Reply(status=503, headers=(("Retry-After", "5"),))
        except ClientDisconnect:
            reply = Reply(status=400)
        self._metrics.count("xcap_requests_total", method=request.method, status=str(reply.status))
        return _response(reply)

    async def _replied(self, request: Request) -> Reply:
        peer, _ = client_of(request)
        not_before(self._rates.network(peer, time.time()))
        question = Question(
            method=request.method,
            path=target_of(request).partition("?")[0].removeprefix(self._path),
            query=request.url.query,
            content_type=request.headers.get("content-type", ""),
            if_match=_joined(request, "if-match"),
            if_none_match=_joined(request, "if-none-match"),
        )
        owner = self._server.place(question).owner
        if owner is None:
            return await self._server.answer(None, question)
        user = await who_asks(request, owner.domain, self._login, self._rates)
        if user != owner or request.method in ("GET", "HEAD"):
            reply = await self._server.answer(user, question)
        else:
            async with self._alone(user):
                # Nothing of a body is read before it is known whose it is, and one at a time.
                body = await self._body(request) if request.method == "PUT" else b""
                self._rates.charge(user, peer, time.time(), len(body) / _COST)
                async with self._in_turn(user):
                    reply = await self._server.answer(user, replace(question, body=body))
            log.info("document_changed", address=str(user), method=request.method, status=reply.status)
        self._rates.charge(user, peer, time.time(), len(reply.body) / _COST)
        return reply

    async def _body(self, request: Request) -> bytes:
        """Raises `XcapError`: 408, 413."""
        length = request.headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._max_document:
            raise XcapError(413, "Document Too Large")
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_TIMEOUT):
                async for part in request.stream():
                    size += len(part)
                    if size > self._max_document:
                        raise XcapError(413, "Document Too Large")
                    parts.append(part)
        except TimeoutError:
            raise XcapError(408, "Request Timeout") from None
        return b"".join(parts)

    @asynccontextmanager
    async def _in_turn(self, user: Address) -> AsyncIterator[None]:
        """No other process changes the user's documents. Raises `XcapError` 503, `Unavailable`."""
        name = f"xcap {user}"
        end = time.monotonic() + _TURN
        while not await self._service.lease(name, _LONGEST):
            if time.monotonic() > end:
                raise XcapError(503, "Being Changed", (("Retry-After", "5"),))
            await asyncio.sleep(_LOOK)
        try:
            yield
        finally:
            with suppress(Unavailable):
                await self._service.lease(name, _OVER)

    @asynccontextmanager
    async def _alone(self, user: Address) -> AsyncIterator[None]:
        """Raises `HttpRefused` 429 where too many wait already."""
        lock, waiting = self._busy.get(user, (asyncio.Lock(), 0))
        if waiting >= _WAITING:
            not_before(1.0)
        self._busy[user] = lock, waiting + 1
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._busy[user]
            if waiting == 1:
                del self._busy[user]
            else:
                self._busy[user] = lock, waiting - 1


def _joined(request: Request, name: str) -> str | None:
    values = request.headers.getlist(name)
    return ", ".join(values) if values else None


def _response(reply: Reply) -> Response:
    response = Response(reply.body, status_code=reply.status)
    # RFC 4825 §9
    response.headers["Cache-Control"] = "no-cache"
    if reply.content_type:
        response.headers["Content-Type"] = reply.content_type
    if reply.etag:
        response.headers["ETag"] = f'"{reply.etag}"'
    for name, value in reply.headers:
        response.headers.append(name, value)
    return response
