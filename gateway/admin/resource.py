"""What a resource is made of: its registration, what it may use, and how its answers look."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.config import Settings
from presence.address import Address, parse_address
from presence.errors import InvalidAddress
from presence.ports import Accounts, Bus, Store
from presence.service import PresenceService

JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What resources work with."""

    settings: Settings
    node: str
    bus: Bus
    store: Store
    accounts: Accounts
    service: PresenceService
    clock: Callable[[], float]
    token: str
    "Bearer token of the API."
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    "Set when the server is about to stop: long answers end."


class ApiError(Exception):
    """Answered as `{"error": text}`."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


Handler = Callable[[Request, Desk], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Resource:
    """One registered path."""

    path: str
    handler: Handler
    open: bool = field(kw_only=True)
    "Served without the API's token."


registered: dict[str, Resource] = {}


def resource(path: str, *, open: bool = False) -> Callable[[Handler], Handler]:
    """Register a GET handler for a path."""

    def register(handler: Handler) -> Handler:
        if path in registered:
            raise ValueError(f"{path} is registered twice")
        registered[path] = Resource(path, handler, open=open)
        return handler

    return register


def authorised(request: Request, token: str) -> bool:
    """The request carries this bearer token (RFC 6750 §2.1); compared in constant time."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())


def address_of(text: str, desk: Desk) -> Address:
    """An address from a request; a word alone is none, unless it is a domain here. Raises `ApiError` 400."""
    try:
        address = parse_address(text)
    except InvalidAddress as error:
        raise ApiError(400, f"not an address: {text!r}") from error
    if not address.local and "." not in address.domain and address.domain not in desk.settings.domains:
        raise ApiError(400, f"an address is written USER@DOMAIN, not {text}")
    return address


def plain(value: Any) -> Any:
    """Anything of the domain as JSON shows it: addresses as text, structs as objects, bytes by their size."""
    if isinstance(value, Address):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {str(plain(k)): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    return value


def answer(value: Any, status: int = 200) -> JSONResponse:
    """A JSON answer."""
    return JSONResponse(plain(value), status_code=status)
