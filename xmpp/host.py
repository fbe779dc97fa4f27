"""The boundary between a client's stream and the server behind it.

The listener owns the stream: bytes, TLS, SASL, the resource's name on the wire. The router owns what a bound
session does. They meet only in these Protocols.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from presence.address import Address
from xmpp.element import Element
from xmpp.errors import StreamError
from xmpp.jid import JID


class Outbound(Protocol):
    """One stream's way out. Usable from the loop's thread only; after `close` everything is ignored."""

    peer: str
    "Its IP address."

    def send(self, data: bytes) -> None:
        """Queue serialised stanzas (content namespace `jabber:client` already declared by the stream header).

        One write per loop turn. A peer that does not read is cut off when its queue is full.
        """

    def pending(self) -> int:
        """Bytes not yet taken by the kernel."""

    def charge(self, size: int) -> None:
        """The client has made work as so many bytes of its own would: what it sends next is read later."""

    def close(self, error: StreamError | None) -> None:
        """End the stream, with a stream error or just `</stream:stream>`, after what is queued."""

    def info(self) -> dict[str, Any]:
        """For `tandem sessions`: peer address, TLS version, mechanism, since when."""


class BoundSession(Protocol):
    """A bound resource, as the listener sees it."""

    @property
    def jid(self) -> JID: ...

    async def receive(self, stanza: Element) -> None:
        """The next top-level element from the client. Called in order, one at a time: while it runs, nothing
        more is read than fits the receive buffer. Raises `StreamError` to end the stream with it."""

    def flushed(self) -> None:
        """Everything sent so far was taken by the kernel; messages may be settled."""

    async def closed(self, reason: str) -> None:
        """The stream is over, however it ended. Called once. `reason`: `closed` by the client, `lost`, or the
        condition of the stream error that ended it."""


class Host(Protocol):
    """The server behind the streams."""

    def features(self) -> list[Element]:
        """Stream features after authentication beside `<bind/>`; the same for everybody, for as long as we
        run."""

    async def bind(
        self, address: Address, resource: str | None, outbound: Outbound, lang: str
    ) -> BoundSession:
        """Bind a resource (RFC 6120 §7). `resource` is canonical, or None: the server chooses.

        The conflict policy is inside. Raises `StanzaError`. What the session sends before this has returned
        goes out behind the listener's answer to the client.
        """


@dataclass(frozen=True, slots=True)
class Resumed:
    """A session goes on over this stream instead of a new one being bound (XEP-0198 §5)."""

    session: BoundSession
    answer: Element
    "Goes out before anything the session sends."


Negotiable = Callable[[Address, Element, Outbound, str], Awaitable[Resumed | Element]]
"""Answers a top-level element between authentication and binding: (address, element, outbound, language of
the stream). An `Element` is sent and negotiation goes on. Raises `StreamError`."""
