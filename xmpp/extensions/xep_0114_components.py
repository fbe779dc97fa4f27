"""XEP-0114 Jabber Component Protocol: programs that serve a domain of their own (`xmpp.components`).

Presence goes to a component's users who may see ours, and ours ask for theirs, as with any other server
(RFC 6121 §4.2 to §4.5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from presence.errors import Unavailable
from xmpp.component import NS, Component
from xmpp.element import CLIENT_NS, Element
from xmpp.extensions import Extension, Status
from xmpp.jid import JID
from xmpp.presence import directed
from xmpp.relay import carry

if TYPE_CHECKING:
    from xmpp.router import XmppRouter
    from xmpp.session import Session


class Telling:
    """What one session's user has been seen with at components; presence may change faster than it can be
    told, and only the latest is."""

    __slots__ = ("busy", "initial", "latest")

    def __init__(self) -> None:
        self.latest: Element | None = None
        self.busy = False
        self.initial = True


def _components(router: XmppRouter) -> dict[str, Component]:
    return {domain: each for domain, each in router.hosted.items() if isinstance(each, Component)}


def _incoming(session: Session, stanza: Element) -> Element | None:
    router = session.router
    shown = stanza.name == "presence" and not stanza.get("to") and stanza.get("type") in ("", "unavailable")
    if shown and router.settings.components:
        _tell(session, stanza)
    return stanza


def _closed(session: Session, reason: str) -> None:
    telling: Telling | None = session.extra.get(NS)
    if telling is not None and not telling.initial and not session.superseded:
        _tell(session, Element("presence", CLIENT_NS, {"type": "unavailable"}))


def _tell(session: Session, stanza: Element) -> None:
    telling: Telling = session.extra.setdefault(NS, Telling())
    telling.latest = stanza
    if not telling.busy:
        telling.busy = True
        session.runtime.spawn(_tell_all(session, telling))


async def _tell_all(session: Session, telling: Telling) -> None:
    try:
        while (stanza := telling.latest) is not None:
            telling.latest = None
            try:
                await _broadcast(session, telling, stanza)
            except Unavailable:
                session.router.metrics.count("xmpp_component_presence_lost_total")
    finally:
        telling.busy = False


async def _broadcast(session: Session, telling: Telling, stanza: Element) -> None:
    components = _components(session.router)
    _, items = await session.router.service.roster(session.address)
    ours = [item for item in items if item.contact.domain in components]
    gone = stanza.get("type") == "unavailable"
    if gone and telling.initial:
        return
    for item in ours:
        component, to = components[item.contact.domain], JID.of(item.contact)
        if item.seen:
            shown = carry(directed(stanza, session.jid, to), session.jid, to)
            await component.carry(shown, answered=False)
        if item.sees and telling.initial and not gone:
            asked = Element("presence", CLIENT_NS, {"type": "probe", "from": str(session.jid), "to": str(to)})
            await component.carry(carry(asked, session.jid, to), answered=False)
    telling.initial = gone


def _pack(session: Session) -> bytes:
    telling: Telling | None = session.extra.get(NS)
    return b"told" if telling is not None and not telling.initial else b""


def _unpack(session: Session, luggage: bytes) -> None:
    telling = session.extra[NS] = Telling()
    telling.initial = False


def _hosts(router: XmppRouter) -> list[Component]:
    return [Component(router, each.domain, each.secret) for each in router.settings.components]


EXTENSION = Extension(
    spec="XEP-0114",
    name="Jabber Component Protocol",
    version="1.6",
    status=Status.COMPLETE,
    notes="Phones reach a component's people, and they phones. Nothing waits for one that is not connected.",
    hosts=_hosts,
    incoming=_incoming,
    closed=_closed,
    packs=_pack,
    unpacks=_unpack,
)
