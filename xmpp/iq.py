"""IQ stanzas: who answers them (RFC 6120 §8.2.3, RFC 6121 §8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xmpp.element import CLIENT_NS, Element
from xmpp.errors import StanzaError
from xmpp.extensions import Request, Target
from xmpp.jid import JID
from xmpp.serialiser import serialise

if TYPE_CHECKING:
    from presence.address import Address
    from xmpp.router import XmppRouter
    from xmpp.session import Session

REQUESTS = ("get", "set")
ANSWERS = ("result", "error")


def payload(stanza: Element) -> Element:
    """The one child of a request. Raises `StanzaError` (RFC 6120 §8.2.3 rules 1 to 4)."""
    if not stanza.get("id"):
        raise StanzaError("bad-request", text="an IQ has an id")
    if stanza.get("type") not in REQUESTS:
        raise StanzaError("bad-request", text="an IQ has a type: get, set, result or error")
    children = stanza.elements
    if len(children) != 1:
        raise StanzaError("bad-request", text="a request has one payload")
    return children[0]


def target(to: JID, own: JID) -> Target | None:
    """Whom of us a request is for; None for a client's resource (RFC 6121 §8.3 to §8.5)."""
    if to.resource:
        return None if to.local else Target.SERVER
    if not to.local:
        return Target.SERVER
    return Target.ACCOUNT if to.bare == own.bare else Target.USER


async def answer(session: Session, stanza: Element, to: JID, whom: Target) -> None:
    """Answer a request on our own behalf or a user's. Raises what the client is to hear."""
    request = payload(stanza)
    kind = stanza.get("type")
    router = session.router
    handler = router.registry.iq.get((whom, kind, request.ns, request.name))
    if handler is None or to.resource:
        raise StanzaError("service-unavailable")
    if whom is Target.USER:
        await not_blocked(router, session.jid, to.bare)
    router.metrics.count("xmpp_iq_answered_total", spec=router.registry.owner[request.ns, request.name])
    result = write_result(stanza, await handler(Request(session, stanza, request, whom, to)))
    session.send(result, "iq")
    session.charge(len(result))


async def not_blocked(router: XmppRouter, asker: JID, owner: Address) -> None:
    """Raises `StanzaError` for a resource that is blocked (XEP-0191 §3.3). Who is blocked whole is found out
    by each handler."""
    blocklist = await router.service.blocking.of(owner)
    if asker.resource in blocklist.resources(asker.bare):
        raise StanzaError("service-unavailable")


def write_result(request: Element, result: Element | None) -> bytes:
    attrs = {"type": "result", "id": request.get("id"), "to": request.get("from")}
    if "to" in request.attrs:
        attrs["from"] = request.get("to")
    children: list[Element | str] = [] if result is None else [result]
    return serialise(Element("iq", CLIENT_NS, attrs, children), CLIENT_NS).encode()
