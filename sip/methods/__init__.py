"""Methods the server answers: one file each, with one registration; Allow follows from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from presence.address import Address
from presence.discovery import load
from sip.assistant import Assistant
from sip.delivery import Deliverer
from sip.flow import Flow
from sip.following import Following
from sip.limits import Rates
from sip.message import Request
from sip.notifier import Notifier
from sip.pager import Pager
from sip.publish import Publisher
from sip.registrar import Registrar
from sip.runtime import Reply, Runtime
from sip.settings import SipSettings
from sip.topology import Topology
from sip.waking import Waker


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What methods work with."""

    settings: SipSettings
    runtime: Runtime
    registrar: Registrar
    publisher: Publisher
    notifier: Notifier
    following: Following
    pager: Pager
    deliverer: Deliverer
    waker: Waker
    assistant: Assistant
    topology: Topology
    rates: Rates


class Incoming(msgspec.Struct, frozen=True):
    """A request that may be worked on."""

    request: Request
    flow: Flow
    sender: Address | None
    "Who sent it, proven; None where the method asks for no proof."
    trace: str

    @property
    def user(self) -> Address:
        assert self.sender is not None, "the method is registered as authenticated"
        return self.sender


Handler = Callable[[Services, Incoming], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Method:
    name: str
    handler: Handler
    authenticated: bool
    "The sender must prove who they are."
    passes_on: bool
    "The request goes on to somebody else, so Max-Forwards counts (RFC 3261 §16.3)."


_methods: dict[str, Method] = {}


def method(name: str, *, authenticated: bool = True, passes_on: bool = False) -> Callable[[Handler], Handler]:
    """Register what answers a method. Raises `ProtocolError`, `Refused`, `Unavailable` from inside."""

    def add(handler: Handler) -> Handler:
        _methods[name] = Method(name, handler, authenticated, passes_on)
        return handler

    return add


def methods() -> dict[str, Method]:
    """All of them, by name."""
    if not _methods:
        load(__name__)
    return _methods


def allow() -> str:
    """CANCEL is answered by the transaction layer: it is known, not offered."""
    return ", ".join(sorted(methods()))
