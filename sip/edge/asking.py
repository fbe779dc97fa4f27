"""Who asks over HTTP, and whether it is too often."""

from __future__ import annotations

import time
from math import ceil

from starlette.requests import Request

from presence.address import Address
from sip.edge.sockets import client_of
from sip.limits import Rates
from sip.weblogin import HttpRefused, HttpRequest, Login


def target_of(request: Request) -> str:
    """Path and query as they came."""
    raw: bytes = request.scope.get("raw_path") or request.url.path.encode()
    path, query = raw.decode("latin-1"), request.url.query
    return f"{path}?{query}" if query else path


async def who_asks(request: Request, realm: str, login: Login, rates: Rates) -> Address:
    """The account, proven; nothing of a body is read. Counts as one of its requests. Raises `HttpRefused`,
    `Unavailable`."""
    peer, _ = client_of(request)
    asked = HttpRequest(
        method=request.method,
        target=target_of(request),
        authorization=tuple(request.headers.getlist("authorization")),
        peer=peer,
        agent=request.headers.get("user-agent", ""),
    )
    user = await login.authenticate(realm, asked, time.time())
    not_before(rates.account(user, peer, time.time()))
    return user


def not_before(wait: float) -> None:
    """Raises `HttpRefused` 429 (RFC 6585 §4)."""
    if wait:
        raise HttpRefused(429, "Too Many Requests", (("Retry-After", str(ceil(wait))),))
