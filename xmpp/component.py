"""XEP-0114: programs that serve a domain of their own beside ours: transports, bots, rooms.

`Component` is the domain as our clients find it, in every process; the program is connected to one of them.
`ComponentNegotiation` lets it in, `ComponentSession` is what it sends. Its users are people from elsewhere:
their requests go through the roster (RFC 6121 §3). What a person says goes through the bus, both ways: to and
from clients and phones, into our people's archives (XEP-0313) and to their other clients (XEP-0280).
"""

from __future__ import annotations

import hashlib
import hmac
from math import ceil
from typing import TYPE_CHECKING

import structlog
from msgspec.structs import replace

from presence.address import Address
from presence.errors import Condition, InvalidAddress, PresenceError, Refused, Unavailable
from presence.messages import Failure, InstantMessage
from presence.ports import Endpoint, EndpointKind, Lease, Update
from presence.service import Standing
from presence.subscriptions import Act
from xmpp import iq
from xmpp.effects import Bound, Close, Effect, LoggedIn, Opened, Send
from xmpp.element import CLIENT_NS, Element
from xmpp.errors import StanzaError, StreamError, deserves_error, error_stanza, to_stanza_error
from xmpp.extensions import Request, Target
from xmpp.host import Outbound
from xmpp.jid import JID, parse_jid
from xmpp.message import (
    Drop,
    Forward,
    MessageType,
    Submit,
    check_size,
    message_type,
    read_message,
    route,
    without_ids,
    write_failure,
    write_message,
)
from xmpp.negotiation import STANZAS, Negotiation
from xmpp.presence import (
    ACTS,
    escape_jid,
    read_extras,
    read_notes,
    write_gone,
    write_presence,
    write_subscription,
)
from xmpp.realm import Realm
from xmpp.relay import CONFLICT, Carried, carry, envelope
from xmpp.serialiser import serialise
from xmpp.stream import StreamOpened

if TYPE_CHECKING:
    from xmpp.router import XmppRouter
    from xmpp.session import Session

log = structlog.get_logger()

NS = "jabber:component:accept"
_READABLE = frozenset({Target.SERVER, Target.USER})
"Whom a component may ask: the server, and people who let it see them."
_SAID = frozenset({MessageType.NORMAL, MessageType.CHAT})
"What a person says to a person. Rooms and errors are between programs, headlines are for now."


def handshake(stream_id: str, secret: str) -> str:
    """XEP-0114 §3: how a component shows that it knows the secret."""
    return hashlib.sha1((stream_id + secret).encode()).hexdigest()


def adopt(element: Element) -> Element:
    """An element of a component's stream as one of ours, with all below it (XEP-0114 §4)."""
    if element.ns == NS:
        element.ns = CLIENT_NS
    for child in element.elements:
        adopt(child)
    return element


class ComponentNegotiation(Negotiation):
    """A component's way in: a header that names its domain, and the handshake."""

    __slots__ = ("_components", "_stream_id")

    def __init__(self, realm: Realm, outbound: Outbound, components: dict[str, Component]) -> None:
        super().__init__(realm, outbound, may_be_clear=True, upgradable=False)
        self._components = components
        self._stream_id = ""

    def header(self) -> Opened:
        self.header_sent = True
        self._stream_id = self.realm.stream_id()
        return Opened(self._stream_id, self.domain, "")

    async def _opened(self, event: StreamOpened) -> list[Effect]:
        try:
            domain = parse_jid(event.to).domain if event.to else ""
        except InvalidAddress:
            domain = ""
        if domain not in self._components:
            raise StreamError("host-unknown", "no component of this domain is configured (xmpp.components)")
        self.domain = domain
        return [self.header()]

    async def _element(self, element: Element, more: bool) -> list[Effect]:
        component = self._components[self.domain]
        if element.ns != NS or element.name != "handshake":
            raise StreamError("not-authorized", "the handshake comes first")
        guard, peer = self.realm.guard, self.login.peer
        if wait := await guard.wait(peer, self.domain):
            text = f"too many failed handshakes, try again in {ceil(wait)} seconds"
            return [Close(StreamError("policy-violation", text))]
        wanted = handshake(self._stream_id, component.secret)
        if not hmac.compare_digest(wanted.encode(), element.text.strip().lower().encode()):
            log.warning("component_refused", domain=self.domain, peer=peer)
            await guard.failed(peer, self.domain)
            return [Close(StreamError("not-authorized", "not the secret of this component"))]
        await guard.succeeded(peer, self.domain)
        session = await component.open(self.outbound)
        return [LoggedIn(component.jid.bare, "handshake"), Send("<handshake/>"), Bound(session, ())]


class Component:
    """Implements `xmpp.hosted.Service` for a domain that a program serves."""

    def __init__(self, router: XmppRouter, domain: str, secret: str) -> None:
        self.router = router
        self.domain = domain
        self.beside = ""
        self.name = domain
        self.secret = secret
        self.jid = JID("", domain, "")
        self._session: ComponentSession | None = None

    # --- where the program is -----------------------------------------------------------------------------

    async def open(self, outbound: Outbound) -> ComponentSession:
        """The program is connected here; an earlier connection of it ends. Raises `Unavailable`."""
        session = ComponentSession(self, outbound)
        self._give_way()
        self._session = session
        try:
            word = Carried(CONFLICT, "", self.router.service.owner, self.jid.full)
            await self.router.service.relay(envelope(word, self.jid))
            await self.restate()
        except Unavailable:  # the connection ends: nothing may be given to it
            if self._session is session:
                self._session = None
            raise
        log.info("component_connected", domain=self.domain)
        return session

    def connected_elsewhere(self, owner: str) -> None:
        """The program has come to that process (`NODE/INCARNATION`)."""
        if owner != self.router.service.owner:
            self._give_way()

    def _give_way(self) -> None:
        earlier, self._session = self._session, None
        if earlier is not None:
            earlier.outbound.close(StreamError("conflict", "replaced by a new connection"))

    async def left(self, session: ComponentSession) -> None:
        if self._session is not session:
            return
        self._session = None
        log.info("component_disconnected", domain=self.domain)
        try:
            await self.router.service.publish(
                self.jid.bare,
                Update(drop_endpoints=("xmpp:",), only_owner=self.router.service.owner),
                self.router.service.new_trace(),
            )
        except Unavailable:
            log.info("component_not_taken_back", domain=self.domain)

    async def restate(self) -> None:
        """Tell the other processes that the program is here, if it is. Raises `Unavailable`."""
        if self._session is None:
            return
        service = self.router.service
        lease = Lease(owner=service.owner)
        here = Endpoint(id="xmpp:", kind=EndpointKind.XMPP, node=service.node, lease=lease)
        await service.publish(self.jid.bare, Update(put_endpoints=(here,)), service.new_trace())

    # --- to the program -----------------------------------------------------------------------------------

    async def receive(self, session: Session, stanza: Element, to: JID) -> None:
        """See `xmpp.hosted.Service.receive`."""
        if stanza.name == "message" and message_type(stanza) in _SAID:
            await session.submit(stanza, session.said(stanza, to, store=True))
            return
        sender = session.jid
        if stanza.name == "presence" and stanza.get("type") in ACTS:
            service = self.router.service
            await service.act(
                session.address,
                to.bare,
                ACTS[stanza.get("type")],
                notes=read_notes(stanza, session.lang),
                opaque=read_extras(stanza),
                trace=service.new_trace(),
            )
            if stanza.get("type") == Act.UNSUBSCRIBED.value:
                await self.show(session.address, to.bare, gone=True)
            sender, to = JID.of(session.address), JID.of(to.bare)
            stanza = Element("presence", CLIENT_NS, {**stanza.attrs, "from": sender.full}, stanza.children)
        await self.carry(carry(stanza, sender, to), answered=deserves_error(stanza))
        if stanza.name == "presence" and stanza.get("type") == Act.SUBSCRIBED.value:
            await self.show(session.address, to.bare)

    async def show(self, owner: Address, contact: Address, *, gone: bool = False) -> None:
        """Where one of ours is, to somebody there who may see it from now on, or no longer may (RFC 6121
        §3.1.5, §3.2.1)."""
        (snapshot,) = await self.router.service.snapshots([owner])
        document = await self.router.service.show(snapshot, contact)
        for each in document.tuples:
            if each.open:
                shown = write_gone(owner, each) if gone else write_presence(owner, each, document)
                stanza = shown.to(escape_jid(str(contact)))
                await self.carry(
                    Carried("presence", "", str(owner), str(contact), stanza=stanza), answered=False
                )

    async def carry(self, carried: Carried, *, answered: bool = True) -> None:
        """One stanza to the program, wherever it is; by the bus also when it is here, so that it comes after
        the messages before it (RFC 6120 §10.1). Raises `StanzaError` when it is nowhere, unless nobody is to
        hear of that."""
        found = await self.router.service.relay(envelope(carried, self.jid))
        if not found and answered and carried.name != "presence":
            raise StanzaError("remote-server-timeout", text="the service is not connected")

    def deliver(self, message: InstantMessage) -> None:
        """A message of the bus. Its id in our people's archives is not one of the program's to hear, who has
        others or none (XEP-0359 §3 rule 2)."""
        if self._session is None:  # it has left since
            self.router.runtime.spawn(self._not_delivered(message))
            return
        self._session.outbound.send(write_message(replace(message, archived=False), delayed=False))
        self.router.service.note(message.trace, "xmpp.out", message.recipient, message.sender, "component")

    async def _not_delivered(self, message: InstantMessage) -> None:
        try:
            await self.router.service.fail(message, Condition.REMOTE_TIMEOUT, "the service is not connected")
        except Unavailable:
            log.info("settle_failed", message=message.id, reason="bus", trace=message.trace)

    def hand_over(self, carried: Carried) -> None:
        """A stanza from one of our processes."""
        if self._session is not None:
            self._session.outbound.send(carried.stanza)

    async def act(self, owner: Address, contact: Address, act: Act) -> None:
        """Tell somebody there what somebody here did (RFC 6121 §3)."""
        stanza = write_subscription(owner, act.value).to(escape_jid(str(contact)))
        carried = Carried("presence", act.value, str(owner), str(contact), stanza=stanza)
        await self.carry(carried, answered=False)

    async def failed(self, failure: Failure) -> None:
        """A message from there was refused by all it could have gone to."""
        stanza = write_failure(failure)
        await self.carry(Carried("message", "error", "", str(failure.sender), stanza=stanza), answered=False)


class ComponentSession:
    """Implements `xmpp.host.BoundSession`: one connection of the program."""

    def __init__(self, component: Component, outbound: Outbound) -> None:
        self._component = component
        self._router = component.router
        self.outbound = outbound
        self.address = component.jid.bare

    @property
    def jid(self) -> JID:
        return self._component.jid

    @property
    def router(self) -> XmppRouter:
        return self._router

    def send(self, data: bytes, name: str) -> None:
        """An answer of ours."""
        self.outbound.send(data)

    def charge(self, size: int) -> None:
        """Programs are trusted with how much they ask for."""

    def flushed(self) -> None:
        """Nothing waits for it."""

    async def closed(self, reason: str) -> None:
        await self._component.left(self)

    async def receive(self, stanza: Element) -> None:
        """Raises `StreamError` for what XEP-0114 §4 excludes."""
        adopt(stanza)
        if stanza.ns != CLIENT_NS or stanza.name not in STANZAS:
            raise StreamError("unsupported-stanza-type")
        try:
            sender = parse_jid(stanza.get("from"))
        except InvalidAddress:
            raise StreamError("invalid-from", "'from' is missing or no address") from None
        if sender.domain != self._component.domain:
            raise StreamError("invalid-from", f"only addresses of {self._component.domain} are yours")
        self.address = sender.bare
        try:
            if not stanza.get("to"):
                raise StanzaError("bad-request", text="to whom?")
            await self._pass(stanza, sender, parse_jid(stanza.get("to")))
        except (StanzaError, PresenceError) as refusal:
            if deserves_error(stanza):
                error = refusal if isinstance(refusal, StanzaError) else to_stanza_error(refusal)
                self.outbound.send(serialise(error_stanza(stanza, error), CLIENT_NS).encode())

    async def _pass(self, stanza: Element, sender: JID, to: JID) -> None:
        router = self._router
        other = router.hosted.get(to.domain)
        if isinstance(other, Component):
            await other.carry(carry(stanza, sender, to), answered=deserves_error(stanza))
        elif other is not None:
            raise StanzaError("service-unavailable")
        elif not router.service.serves(to.domain):
            raise StanzaError("remote-server-not-found")
        elif stanza.name == "message":
            await self._message(stanza, sender, to)
        elif stanza.name == "presence":
            await self._presence(stanza, sender, to)
        else:
            await self._iq(stanza, sender, to)

    async def _message(self, stanza: Element, sender: JID, to: JID) -> None:
        router = self._router
        way = route(message_type(stanza), to)
        match way:
            case Submit(store):
                message = read_message(
                    without_ids(stanza, router.service.serves),
                    sender=sender,
                    to=to,
                    lang="",
                    store=store,
                    rules=router.registry,
                    now=router.clock(),
                    trace=router.service.new_trace(),
                )
                check_size(message, router.settings.max_stanza)
                router.service.note(message.trace, "xmpp.in", message.recipient, message.sender, "component")
                try:
                    await router.service.submit(message)
                except Refused as refusal:
                    if refusal.condition is Condition.ITEM_NOT_FOUND:  # RFC 6121 §8.5.1
                        raise StanzaError("service-unavailable") from None
                    raise
            case Forward(otherwise):
                stanza = without_ids(stanza, router.service.serves)
                if not await router.pass_on(carry(stanza, sender, to), to) and otherwise is not None:
                    raise otherwise
            case Drop():
                return

    async def _presence(self, stanza: Element, sender: JID, to: JID) -> None:
        service, kind = self._router.service, stanza.get("type")
        if kind in ACTS:
            reply = await service.hear(
                sender.bare,
                to.bare,
                ACTS[kind],
                notes=read_notes(stanza, ""),
                opaque=read_extras(stanza),
                trace=service.new_trace(),
            )
            if reply is Act.UNSUBSCRIBED:
                await self._component.show(to.bare, sender.bare, gone=True)
            if reply is not None:
                await self._component.act(to.bare, sender.bare, reply)
            if reply is Act.SUBSCRIBED:
                await self._component.show(to.bare, sender.bare)
        elif kind == "probe":
            await self._probe(sender, to)
        elif kind in ("", "unavailable", "error"):
            await self._router.pass_on(carry(stanza, sender, to), to)
        else:
            raise StanzaError("bad-request", text="no such type of presence")

    async def _probe(self, sender: JID, to: JID) -> None:
        """RFC 6121 §4.3.2."""
        service = self._router.service
        if await service.blocking.blocks(to.bare, sender.bare, sender.resource):
            return
        decision = await service.decide(sender.bare, to.bare)
        asker = escape_jid(str(sender.bare))
        if decision.standing is not Standing.ACTIVE:
            self.outbound.send(write_subscription(to.bare, "unsubscribed").to(asker))
            return
        for rendered in await self._router.known(to, sender.bare):
            self.outbound.send(rendered.to(asker))

    async def _iq(self, stanza: Element, sender: JID, to: JID) -> None:
        asks = stanza.get("type") in iq.REQUESTS
        whom = iq.target(to, sender)
        if not asks and not to.resource:
            self._router.answered(stanza, sender, to)
            return
        if whom is None or not asks:
            if to.resource and not await self._router.pass_on(carry(stanza, sender, to), to) and asks:
                raise StanzaError("service-unavailable")
            return
        request = iq.payload(stanza)
        asked = stanza.get("type"), request.ns, request.name
        handler = self._router.registry.iq.get((whom, *asked))
        known = asked in self._router.registry.for_strangers
        if not known or whom not in _READABLE or to.resource or handler is None:
            raise StanzaError("service-unavailable")
        if whom is Target.USER:
            await iq.not_blocked(self._router, sender, to.bare)
        result = await handler(Request(self, stanza, request, whom, to))  # type: ignore[arg-type]
        self.outbound.send(iq.write_result(stanza, result))
