"""A push service on this machine: HTTPS with a certificate of the tests' own, at `localhost`."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.support.authority import Authority
from tests.support.inbox import Inbox

PRIVATE = ("127.0.0.0/8", "::1/128")


@dataclass(frozen=True, slots=True)
class Pushed:
    """One request."""

    path: str
    headers: dict[str, str]
    "Names in lower case."
    body: bytes


class PushService:
    """What it was asked; `status` is what it answers."""

    def __init__(self, port: int, authorities: Path) -> None:
        self.port = port
        self.authorities = authorities
        self.status = 201
        self.headers: dict[str, str] = {}
        self.pushed: Inbox[Pushed] = Inbox("the push service")

    def uri(self, name: str) -> str:
        """Of a subscription."""
        return f"https://localhost:{self.port}/push/{name}"

    def settings(self) -> dict[str, Any]:
        """Of `sip.push`, so that it is reached."""
        return {"webpush": True, "authorities": str(self.authorities), "private_networks": PRIVATE}

    async def _answer(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.pushed.put(Pushed(request.path, headers, await request.read()))
        return web.Response(status=self.status, headers=self.headers)

    async def asked(self, name: str = "") -> Pushed:
        """The next request, for that subscription."""
        return await self.pushed.take(f"a push to {name}", lambda p: p.path.endswith(f"/{name}"))


@asynccontextmanager
async def push_service(folder: Path, name: str = "localhost") -> AsyncIterator[PushService]:
    """`name`: whom its certificate is of."""
    authority = Authority(folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority.issue(name))
    service = PushService(0, authority.file)
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", service._answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    service.port = runner.addresses[0][1]
    try:
        yield service
    finally:
        await runner.cleanup()
