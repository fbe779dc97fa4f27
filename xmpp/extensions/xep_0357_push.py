"""XEP-0357 Push Notifications: clients that sleep are woken through the push service they named.

A notification is published when a message waits for somebody without an XMPP client, to all of their
services; and when one is kept for a session whose client is away (XEP-0198), to the services that client
named, if it named any. What comes within `push.interval` seconds after one makes one more together.

GAP XEP-0357 §4: push services of other domains are not reached, as there are no other servers yet: a service
is a component of ours or a client's full JID
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from presence.address import Address
from presence.alarms import COLLECTION
from presence.errors import InvalidAddress, PresenceError
from presence.messages import InstantMessage
from presence.ports import Kept
from xmpp import belongings
from xmpp.component import Component
from xmpp.element import Element
from xmpp.errors import StanzaError
from xmpp.extensions import Extension, Iq, Request, Status, Target
from xmpp.extensions.xep_0198_stream_management import WAITED_FOR
from xmpp.jid import JID, parse_jid
from xmpp.management import NS as SM_NS
from xmpp.push import ID, NS, News, Registration, is_final, read_enable, read_kept, write_publish
from xmpp.relay import carry

if TYPE_CHECKING:
    from xmpp.router import XmppRouter
    from xmpp.session import Session

log = structlog.get_logger()

MAX_SERVICES = 20
"Of one person; the ones enabled longest ago go first."
MANY = 10_000
"People whose messages are counted."


async def _enable(request: Request) -> None:
    """§5: the last request for a service and node counts."""
    belongings.only_own(request)
    registration, router = read_enable(request.payload), request.router
    _reachable(router, registration.service)
    owner = request.session.address
    await belongings.weigh(request, len(registration.options))
    kept = router.service.belongings
    await kept.keep(owner, COLLECTION, registration.name, registration.options, MAX_SERVICES)
    router.service.alarms.forget(owner)
    mine: dict[str, Registration] = request.session.extra.setdefault(NS, {})
    mine.pop(registration.name, None)
    mine[registration.name] = registration
    if len(mine) > MAX_SERVICES:
        del mine[next(iter(mine))]


async def _disable(request: Request) -> None:
    """§6: one node, or all of a service."""
    belongings.only_own(request)
    service = parse_jid(request.payload.get("jid")).full
    node = request.payload.attrs.get("node")
    owner, kept = request.session.address, request.router.service.belongings
    mine: dict[str, Registration] = request.session.extra.get(NS, {})
    for each in await kept.kept(owner, COLLECTION):
        where, _, which = each.name.partition(" ")
        if where == service and node in (None, which):
            await kept.discard(owner, COLLECTION, each.name)
            mine.pop(each.name, None)
    request.router.service.alarms.forget(owner)


def _reachable(router: XmppRouter, service: JID) -> None:
    """Raises `StanzaError`."""
    if isinstance(router.hosted.get(service.domain), Component):
        return
    if not router.service.serves(service.domain):
        raise StanzaError("remote-server-not-found", text="push services of other servers are not reached")
    if not (service.local and service.resource):
        raise StanzaError("not-acceptable", text="this is no push service")


# --- when ---------------------------------------------------------------------------------------------------


def _says(message: InstantMessage | None) -> bool:
    return message is not None and message.store and bool(message.bodies or message.encrypted)


def _delivered(session: Session, message: InstantMessage) -> None:
    """For a client that is away?"""
    if session.outbound is None and _says(message):
        session.runtime.spawn(_wake_for(session, [message]))


def _detached(session: Session, reason: str) -> bool:
    """What the client had not taken yet when it went."""
    managed = session.extra.get(SM_NS)
    if managed is not None and managed.id and reason in WAITED_FOR:
        missed = [outgoing.message for outgoing in managed.queue if _says(outgoing.message)]
        if missed:
            session.runtime.spawn(_wake_for(session, missed))
    return False


async def _wake_for(session: Session, messages: list[InstantMessage]) -> None:
    """The services its client named, or all of its user's."""
    router, owner = session.router, session.address
    registrations = list(session.extra.get(NS, {}).values())
    try:
        if not registrations and await router.service.alarms.wanted(owner):
            kept = await router.service.belongings.kept(owner, COLLECTION)
            registrations = [read_kept(each) for each in kept]
    except PresenceError as error:
        log.info("push_failed", address=str(owner), reason=str(error))
    for message in messages if registrations else ():
        _bells(router).ring(owner, message, registrations)


def _waiting(router: XmppRouter, message: InstantMessage) -> None:
    router.runtime.spawn(_wake(router, message))


async def _wake(router: XmppRouter, message: InstantMessage) -> None:
    """Every process hears of it; one does it."""
    try:
        if await router.service.claims(f"push:{message.id}", 60.0):
            kept = await router.service.belongings.kept(message.recipient, COLLECTION)
            _bells(router).ring(message.recipient, message, [read_kept(each) for each in kept])
    except PresenceError as error:
        log.info("push_failed", address=str(message.recipient), reason=str(error))


def _back(session: Session) -> None:
    _bells(session.router).counts.pop(session.address, None)


# --- how ----------------------------------------------------------------------------------------------------


class _Bells:
    """What was rung lately in this process."""

    def __init__(self, router: XmppRouter) -> None:
        self._router = router
        self.counts: dict[Address, int] = {}
        "Messages somebody was told of since they had a client here."
        self._resting: dict[tuple[Address, str], tuple[Registration, News | None]] = {}
        "Rung within `push.interval`, and what has come since."

    def ring(self, owner: Address, message: InstantMessage, registrations: list[Registration]) -> None:
        count = self.counts[owner] = self.counts.get(owner, 0) + 1
        if len(self.counts) > MANY:
            del self.counts[next(iter(self.counts))]
        content = self._router.settings.push.content
        sender = str(message.sender) if content in ("sender", "body") else ""
        body = message.bodies[0].text[:1000] if content == "body" and message.bodies else ""
        news = News(count, sender, body)
        for registration in registrations:
            key = owner, registration.name
            if key in self._resting:
                self._resting[key] = registration, news
            else:
                self._publish(owner, registration, news)

    def _publish(self, owner: Address, registration: Registration, news: News) -> None:
        key = owner, registration.name
        self._resting[key] = registration, None
        interval = self._router.settings.push.interval
        self._router.runtime.call_later(interval, lambda: self._rested(key))
        self._router.runtime.spawn(_publish(self._router, owner, registration, news))

    def _rested(self, key: tuple[Address, str]) -> None:
        registration, news = self._resting.pop(key)
        if news is not None:
            self._publish(key[0], registration, news)


def _bells(router: XmppRouter) -> Any:
    if NS not in router.extra:
        router.extra[NS] = _Bells(router)
    return router.extra[NS]


async def _publish(router: XmppRouter, owner: Address, registration: Registration, news: News) -> None:
    service = registration.service
    carried = carry(write_publish(owner, registration, news), JID.of(owner), service)
    component = router.hosted.get(service.domain)
    try:
        if isinstance(component, Component):
            await component.carry(carried)
        elif not await router.pass_on(carried, service):
            raise StanzaError("recipient-unavailable")
    except (StanzaError, PresenceError) as error:  # it may be there again later
        router.metrics.count("xmpp_pushes_total", outcome="unreachable")
        log.info("push_failed", address=str(owner), service=service.full, reason=str(error))
    else:
        router.metrics.count("xmpp_pushes_total", outcome="sent")


def _answered(router: XmppRouter, stanza: Element, sender: JID, to: JID) -> None:
    if stanza.get("id").startswith(ID) and is_final(stanza):
        router.runtime.spawn(_give_up(router, stanza.get("id"), sender, to))


async def _give_up(router: XmppRouter, id: str, sender: JID, to: JID) -> None:
    """§7.1: the service said no."""
    owner, kept = to.bare, router.service.belongings
    try:
        for each in await kept.kept(owner, COLLECTION):
            registration = read_kept(each)
            if registration.service == sender and registration.id(owner) == id:
                await kept.discard(owner, COLLECTION, each.name)
                router.service.alarms.forget(owner)
                for session in router.sessions_of(owner):
                    session.extra.get(NS, {}).pop(each.name, None)
                log.info("push_disabled", address=str(owner), service=sender.full)
    except (PresenceError, InvalidAddress) as error:
        log.info("push_failed", address=str(owner), reason=str(error))


def _pack(session: Session) -> bytes:
    mine: dict[str, Registration] = session.extra.get(NS, {})
    return msgspec.msgpack.encode([(each.name, each.options) for each in mine.values()]) if mine else b""


def _unpack(session: Session, luggage: bytes) -> None:
    named = msgspec.msgpack.decode(luggage, type=list[tuple[str, bytes]])
    session.extra[NS] = {name: read_kept(Kept(name, options, 0.0)) for name, options in named}


OWN = frozenset({Target.ACCOUNT, Target.USER})

EXTENSION = Extension(
    spec="XEP-0357",
    name="Push Notifications",
    version="0.4.1",
    status=Status.PARTIAL,
    notes="To components and clients of ours: there are no other servers yet.",
    account_features=(NS,),
    iq=(
        Iq(type="set", ns=NS, name="enable", targets=OWN, handle=_enable),
        Iq(type="set", ns=NS, name="disable", targets=OWN, handle=_disable),
    ),
    opened=_back,
    resumed=_back,
    waiting=_waiting,
    delivered=_delivered,
    detached=_detached,
    answered=_answered,
    packs=_pack,
    unpacks=_unpack,
)
