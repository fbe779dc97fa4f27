"""Services at domains of their own, as `rooms.example.org` beside `example.org`.

An extension names them (`Extension.hosts`). What our clients send to such a domain goes to its service whole;
the service is an item of the server it stands beside (XEP-0030 §4).

GAP RFC 6120 §10.4: only our own clients reach them, as there are no other servers yet.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from xmpp import iq
from xmpp.element import E, Element
from xmpp.errors import StanzaError
from xmpp.extensions import Request, Target
from xmpp.jid import JID

if TYPE_CHECKING:
    from xmpp.session import Session

INFO_NS = "http://jabber.org/protocol/disco#info"
ITEMS_NS = "http://jabber.org/protocol/disco#items"
PING_NS = "urn:xmpp:ping"


class Service(Protocol):
    """What answers at a domain of its own, and for whoever is below it."""

    @property
    def domain(self) -> str:
        """Canonical, and none of the domains that have accounts."""

    @property
    def beside(self) -> str:
        """The domain with accounts whose server lists it; empty: all list it."""

    @property
    def name(self) -> str:
        """For people who look through the server's services."""

    async def receive(self, session: Session, stanza: Element, to: JID) -> None:
        """One stanza of any kind and type from a client of ours; `from` is its full JID.

        Calls begin in the order the stanzas came, each as soon as the one before it waits for something. A
        presence that the client made known here is followed by an unavailable one when the client leaves. It
        is acknowledged (XEP-0198) when this returns. Raises `StanzaError` or a domain error.
        """


def beside(domains: Iterable[str], label: str) -> list[tuple[str, str]]:
    """(`label.DOMAIN`, `DOMAIN`) for each domain with accounts that can have one."""
    return [(f"{label}.{domain}", domain) for domain in sorted(domains) if not domain.startswith("[")]


Handler = Callable[[Request], Awaitable[Element | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """A `Service` that only answers requests to its bare domain; who it is and a ping it answers by itself.

    `Request.target` is `Target.SERVICE`.
    """

    domain: str
    name: str
    beside: str = ""
    identity: tuple[str, str]
    "Category and type (XEP-0030)."
    features: tuple[str, ...] = ()
    forms: tuple[Element, ...] = ()
    "Told with who it is (XEP-0128)."
    answers: dict[tuple[str, str, str], Handler] = field(default_factory=dict)
    "(`get` or `set`, namespace, name of the payload) → returns the payload of the result, or None."

    async def receive(self, session: Session, stanza: Element, to: JID) -> None:
        if stanza.name == "presence" or stanza.get("type") in ("error", "result"):
            return
        if stanza.name != "iq":
            raise StanzaError("service-unavailable")
        payload = iq.payload(stanza)
        handle = self._handler(stanza.get("type"), payload)
        if to.local or to.resource or handle is None:
            raise StanzaError("service-unavailable")
        result = await handle(Request(session, stanza, payload, Target.SERVICE, to))
        session.send(iq.write_result(stanza, result), "iq")

    def _handler(self, kind: str, payload: Element) -> Handler | None:
        found = self.answers.get((kind, payload.ns, payload.name))
        if found is not None or kind != "get":
            return found
        asked = (payload.ns, payload.name)
        return {(INFO_NS, "query"): self._info, (ITEMS_NS, "query"): _items, (PING_NS, "ping"): _pong}.get(
            asked
        )

    async def _info(self, request: Request) -> Element:
        if request.payload.get("node"):
            raise StanzaError("item-not-found")
        return write_info(self.identity, self.name, {INFO_NS, ITEMS_NS, PING_NS, *self.features}, self.forms)


async def _items(request: Request) -> Element:
    if request.payload.get("node"):
        raise StanzaError("item-not-found")
    return E("query", ITEMS_NS)


async def _pong(request: Request) -> None:
    return None


def write_info(
    identity: tuple[str, str], name: str, features: Iterable[str], forms: Iterable[Element] = ()
) -> Element:
    """What a service says when it is asked who it is (XEP-0030 §3, XEP-0128)."""
    category, type_ = identity
    query = E("query", INFO_NS, {})
    query.child("identity", attrs={"category": category, "type": type_, "name": name})
    for var in sorted(features):
        query.child("feature", attrs={"var": var})
    query.children.extend(form.copy() for form in forms)
    return query
