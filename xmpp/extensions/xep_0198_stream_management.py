"""XEP-0198 Stream Management: stanzas are acknowledged both ways, and a session outlives its connection.

Messages count as delivered when the client says so. A client's stanzas are acknowledged when they are dealt
with: what it sent is then with the bus, or refused.

While its client is away a session stays what it was, for `resume_timeout` seconds and `max_unacknowledged`
stanzas. Then it ends as if the client had left: messages go to the user's other clients or wait, requests are
answered with an error.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import structlog

from presence.address import Address
from presence.errors import InvalidAddress
from xmpp import handover
from xmpp.element import STANZAS_NS, E, Element
from xmpp.entrance import Entrance
from xmpp.errors import StreamError
from xmpp.extensions import Extension, Outgoing, Status
from xmpp.host import Outbound, Resumed
from xmpp.jid import parse_jid
from xmpp.management import COUNTERS, NS, Management, resumable, say
from xmpp.reader import parse_fragment
from xmpp.relay import Carried

if TYPE_CHECKING:
    from xmpp.negotiation import Negotiation
    from xmpp.router import XmppRouter
    from xmpp.session import Session
    from xmpp.welcome import Welcome

log = structlog.get_logger()

WAITED_FOR = frozenset({"lost", "connection-timeout", "resource-constraint"})
"How a connection may end for its session to go on: not by the client's `</stream:stream>`, nor by its fault."


def _failed(condition: str, h: int | None = None) -> Element:
    attrs = {} if h is None else {"h": str(h)}
    return E("failed", NS, attrs, E(condition, STANZAS_NS))


def _count(text: str) -> int | None:
    """An `h`; None when it is no 32-bit number."""
    fits = text.isascii() and text.isdigit() and len(text) <= 10 and int(text) < COUNTERS
    return int(text) if fits else None


# --- from a bound client --------------------------------------------------------------------------------


async def _receive(session: Session, element: Element) -> None:
    managed: Management | None = session.extra.get(NS)
    match element.name:
        case "enable":
            say(session, _enable(session, element))
        case "resume":
            say(session, _failed("unexpected-request"))
        case "r" if managed is not None:
            managed.asked()
        case "a" if managed is not None:
            h = _count(element.get("h"))
            if h is None:
                raise StreamError("bad-format", "h is a number")
            managed.acknowledge(h)
            session.go_on()
        case "r" | "a":
            say(session, _failed("unexpected-request"))
        case _:
            raise StreamError("unsupported-stanza-type")


def _enable(session: Session, element: Element) -> Element:
    """What comes from now on is counted (§3)."""
    if NS in session.extra:
        return _failed("unexpected-request")
    seconds = session.router.settings.resume_timeout
    wished = _count(element.get("max"))
    if wished is not None:
        seconds = min(seconds, wished)
    enabled = E("enabled", NS)
    id = ""
    if element.get("resume") in ("true", "1") and seconds > 0:
        id = secrets.token_urlsafe(18)
        enabled.attrs.update({"id": id, "resume": "true", "max": str(int(seconds))})
    session.extra[NS] = managed = Management(session, id, seconds)
    if id:
        resumable(session.router).sessions[id] = managed
    return enabled


def _at_binding(session: Session, element: Element) -> Element | None:
    """§9.1: enabled while the resource is bound (XEP-0386)."""
    return _enable(session, element) if element.name == "enable" else None


# --- from a client that is not bound --------------------------------------------------------------------


async def _negotiate(
    router: XmppRouter, address: Address, element: Element, outbound: Outbound, lang: str
) -> Resumed | Element:
    if element.name == "enable":  # §3: only behind resource binding
        return _failed("unexpected-request")
    if element.name != "resume":
        raise StreamError("unsupported-stanza-type")
    answer = await _resume(router, address, element, outbound)
    return answer if isinstance(answer, Element) else Resumed(answer.session, _resumed(answer))


async def _inline(router: XmppRouter, welcome: Welcome) -> None:
    """§9.2: taken up in the step that ends authentication (XEP-0388)."""
    wish = welcome.request.find("resume", NS)
    if wish is None:
        return
    answer = await _resume(router, welcome.address, wish, welcome.negotiation.outbound)
    if isinstance(answer, Management):
        welcome.session, answer = answer.session, _resumed(answer)
    welcome.success.append(answer)


async def _inline_features(router: XmppRouter, negotiation: Negotiation) -> list[Element]:
    return [_feature()]


def _resumed(managed: Management) -> Element:
    return E("resumed", NS, {"previd": managed.id, "h": str(managed.handled)})


async def _resume(
    router: XmppRouter, address: Address, element: Element, outbound: Outbound
) -> Management | Element:
    id, h = element.get("previd"), _count(element.get("h"))
    if not id or h is None:
        return _failed("bad-request")
    here = resumable(router)
    managed = here.find(id, address)
    if managed is not None:
        managed.check(h)
        if not await managed.take_over(outbound):
            raise StreamError("conflict", "resumed by a newer connection")
        managed = here.find(id, address)
    known = here.last_handled(id, address)
    if managed is None and known is None:
        found = await handover.fetch(router, address, id, h, outbound)
        managed, known = (found, None) if isinstance(found, Management) else (None, found)
    if managed is None:
        router.metrics.count("xmpp_resumptions_total", outcome="item-not-found")
        return _failed("item-not-found", known)
    session = managed.session
    managed.resume(outbound, h)
    for hook in router.registry.resumed:
        hook(session)
    router.metrics.count("xmpp_resumptions_total", outcome="resumed")
    log.info("session_resumed", jid=session.jid.full, sent_again=len(managed.queue))
    return managed


# --- the session ----------------------------------------------------------------------------------------


def _detached(session: Session, reason: str) -> bool:
    managed: Management | None = session.extra.get(NS)
    if managed is None or not managed.id or reason not in WAITED_FOR:
        return False
    managed.wait()
    log.info("session_waits", jid=session.jid.full, reason=reason, unacknowledged=len(managed.queue))
    return True


def _closed(session: Session, reason: str) -> None:
    managed: Management | None = session.extra.get(NS)
    if managed is None:
        return
    managed.stop()
    resumable(session.router).ended(managed)
    session.sent = None
    for outgoing in managed.queue:
        if outgoing.message is None and outgoing.name != "presence":
            _give_back(session, outgoing)
    managed.queue.clear()


def _give_back(session: Session, outgoing: Outgoing) -> None:
    """A stanza for exactly this resource: its sender hears that it was not taken (RFC 6121 §8.5.3.2.3)."""
    (stanza,) = parse_fragment(outgoing.data)
    type_ = stanza.get("type")
    if type_ not in (("get", "set") if outgoing.name == "iq" else ("groupchat",)):
        return
    try:
        sender = parse_jid(stanza.get("from"))
    except InvalidAddress:  # our own: roster pushes have no sender
        return
    if sender.local and sender.resource:
        carried = Carried(outgoing.name, type_, sender.full, session.jid.full, stanza.get("id"))
        session.runtime.spawn(session.router.bounce(carried))


def _feature() -> Element:
    return E("sm", NS)


EXTENSION = Extension(
    spec="XEP-0198",
    name="Stream Management",
    version="1.6.3",
    status=Status.COMPLETE,
    notes="With resumption, in whichever process a client comes to; no location is named.",
    stream_features=(_feature,),
    elements={NS: _receive},
    negotiable={NS: _negotiate},
    entrance=Entrance(inline_features=_inline_features, inline=_inline, order=10),
    at_binding={NS: _at_binding},
    detached=_detached,
    closed=_closed,
    words=handover.WORDS,
)
