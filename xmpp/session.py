"""One bound resource (RFC 6120 §7): what comes from its client, what is sent to it.

A session has an `Outbound` while its client is connected; extensions may keep it alive without one
(XEP-0198).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from presence.errors import Condition, InvalidAddress, PresenceError, Refused
from presence.messages import Delivery, InstantMessage
from presence.policy import BLOCKED
from presence.service import Standing
from presence.subscriptions import RosterItem
from xmpp import iq
from xmpp.availability import Availability
from xmpp.element import CLIENT_NS, E, Element
from xmpp.errors import StanzaError, StreamError, deserves_error, error_stanza, to_stanza_error
from xmpp.extensions import Outgoing
from xmpp.host import Outbound
from xmpp.jid import JID, parse_jid
from xmpp.message import (
    Drop,
    Forward,
    Submit,
    check_size,
    message_type,
    read_message,
    route,
    write_message,
)
from xmpp.presence import ACTS, escape_jid, read_extras, read_notes, write_subscription
from xmpp.progress import Progress
from xmpp.relay import carry
from xmpp.serialiser import serialise

if TYPE_CHECKING:
    from xmpp.router import XmppRouter

log = structlog.get_logger()

BLOCKED_NS = "urn:xmpp:blocking:errors"
WINDOW = 100
"Stanzas of one client that may wait for the bus at once."
ANSWER = 4
"What a byte of an answer costs, in bytes that are read."
STALLED = 120.0
"Seconds a client may take nothing while messages wait for it in its session."
REMEMBERED = 256
"Messages a session remembers to have sent, against a second delivery."


def _hidden(refusal: Refused) -> Refused | StanzaError:
    """Who is not there answers as who does not take messages (RFC 6121 §8.5.1)."""
    unknown = refusal.condition is Condition.ITEM_NOT_FOUND
    return StanzaError("service-unavailable") if unknown else refusal


class Session:
    """Implements `xmpp.host.BoundSession`."""

    __slots__ = (
        "_comfortable", "_in_flight", "_jid", "_later", "_quiet", "_room", "_sent", "_strays",
        "_taken", "_unconfirmed", "_unsettled", "address", "availability", "ended", "endpoint",
        "escaped", "extra", "heard", "holds", "interested", "lang", "moved", "outbound", "progress",
        "receiving", "router", "runtime", "sent", "since", "superseded", "unacknowledged",
    )  # fmt: skip

    def __init__(self, router: XmppRouter, jid: JID, outbound: Outbound, lang: str) -> None:
        self.router = router
        self.runtime = router.runtime
        self._jid = jid
        self.address = jid.bare
        self.endpoint = f"xmpp:{jid.resource}"
        self.escaped = escape_jid(str(jid.bare))
        "The own bare JID, as the `to` of what is broadcast."
        self.lang = lang
        "Language of the stream (RFC 6120 §4.7.4)."
        self.outbound: Outbound | None = outbound
        self.since = router.clock()
        self.heard = self.since
        "When the client last sent a stanza, Unix seconds."
        self.interested = False
        "It asked for the roster (RFC 6121 §2.1.6)."
        self.availability = Availability(self, router.service.owner)
        self.progress = Progress()
        self.receiving = False
        "A stanza is being dealt with; its answer goes first."
        self.superseded = False
        "Another session has this resource now."
        self.ended = False
        self.moved = False
        "It goes on in another process."
        self.holds: Callable[[Outgoing], bool] | None = None
        "Keeps something back for now; True: it will be given to `pass_out` later (XEP-0352)."
        self.sent: Callable[[Outgoing], None] | None = None
        "Told of everything that went out, also while there is no connection (XEP-0198)."
        self.extra: dict[str, Any] = {}
        "What extensions keep, by their specification."
        self._in_flight = 0
        self._room = self.runtime.gate()
        self._quiet = self.runtime.gate()
        self._unsettled: dict[str, InstantMessage] = {}
        "Settled as soon as the socket has taken them."
        self._unconfirmed: dict[str, InstantMessage] = {}
        "Settled by the client's word alone."
        self._later: dict[str, tuple[InstantMessage, bool]] = {}
        "Messages to be sent when the client has taken others; with whether they are late."
        self._taken = self.since
        "When it last had room for some of those, Unix seconds."
        self.unacknowledged = 0
        "Bytes it was sent and has not said that it has (XEP-0198)."
        self._comfortable = router.settings.max_outbound // 4
        self._strays = 0
        "Connections given up for another one, of whose end we are still to be told."
        self._sent: dict[str, None] = {}

    @property
    def jid(self) -> JID:
        return self._jid

    @property
    def available(self) -> bool:
        return self.availability.available

    @property
    def congested(self) -> bool:
        """So much is on its way to the client that what can wait should wait, and what need not be sent be
        left out: if more is in `max_outbound`'s way, the connection ends."""
        waiting = self.outbound.pending() if self.outbound is not None else 0
        return max(waiting, self.unacknowledged) > self._comfortable

    # --- from the client --------------------------------------------------------------------------------

    async def receive(self, stanza: Element) -> None:
        """See `xmpp.host.BoundSession.receive`."""
        self.heard = self.router.clock()
        if stanza.ns != CLIENT_NS:
            await self._receive_element(stanza)
            return
        number = self.progress.begin()
        later = False
        self.receiving = True
        try:
            accepted: Element | None = stanza
            for hook in self.router.registry.incoming.get(stanza.name, ()):
                accepted = hook(self, stanza)
                if accepted is None:
                    return
                stanza = accepted
            if stanza.name == "message":
                later = await self._message(stanza, number)
            elif stanza.name == "presence":
                later = await self._presence(stanza, number)
            elif stanza.name == "iq":
                later = await self._iq(stanza, number)
            else:
                raise StreamError("unsupported-stanza-type")
        except (StanzaError, PresenceError) as refusal:
            self.refuse(stanza, refusal)
        finally:
            self.receiving = False
            if not later:
                self.progress.done(number)
        self.availability.show_contacts()

    async def _receive_element(self, element: Element) -> None:
        handler = self.router.registry.elements.get(element.ns)
        if handler is None:
            raise StreamError("unsupported-stanza-type")
        await handler(self, element)

    def _to(self, stanza: Element) -> JID:
        """The addressee; without one it is the own account (RFC 6120 §10.3)."""
        said = stanza.get("to")
        return parse_jid(said) if said else JID.of(self.address)

    def _local(self, to: JID) -> None:
        # GAP RFC 6120 §10.4: other servers are not reached yet
        if not self.router.service.serves(to.domain):
            raise StanzaError("remote-server-not-found")

    async def _not_blocked(self, to: JID) -> None:
        """XEP-0191 §3.2: who blocks somebody says nothing to them."""
        if to.local and await self.router.service.blocking.blocks(self.address, to.bare, to.resource):
            raise StanzaError("not-acceptable", "cancel", extra=E("blocked", BLOCKED_NS))

    async def _serve(self, stanza: Element, number: int, to: JID) -> bool:
        """To a service at a domain of its own. It gives no errors for errors and results."""
        if deserves_error(stanza):
            await self._not_blocked(to)
        await self._launch(stanza, number, self.router.hosted[to.domain].receive(self, stanza, to))
        return True

    async def _message(self, stanza: Element, number: int) -> bool:
        to = self._to(stanza)
        if to.domain in self.router.hosted:
            return await self._serve(stanza, number, to)
        self._local(to)
        await self._not_blocked(to)
        way = route(message_type(stanza), to)
        match way:
            case Submit(store):
                await self._submit(stanza, number, self.said(stanza, to, store=store))
                return True
            case Forward(otherwise):
                await self._launch(stanza, number, self._forward(stanza, to, otherwise))
                return True
            case Drop():
                return False

    def said(self, stanza: Element, to: JID, *, store: bool) -> InstantMessage:
        """A message of the client for the bus; see `read_message`. Raises `StanzaError`: see `check_size`."""
        message = read_message(
            stanza,
            sender=self._jid,
            to=to,
            lang=self.lang,
            store=store,
            rules=self.router.registry,
            now=self.heard,
            trace=self.router.service.new_trace(),
        )
        check_size(message, self.router.settings.max_stanza)
        return message

    async def submit(self, stanza: Element, message: InstantMessage) -> None:
        """Give a message of the client to the bus. Raises `StanzaError`, `Refused`, `Unavailable`."""
        service = self.router.service
        service.note(message.trace, "xmpp.in", message.recipient, message.sender, self.endpoint)
        try:
            await service.submit(message)
        except Refused as refusal:
            raise _hidden(refusal) from None
        for hook in self.router.registry.accepted:
            hook(self, stanza, message)

    async def _submit(self, stanza: Element, number: int, message: InstantMessage) -> None:
        """`submit` of a message for one of our people; returns when it is on its way to the bus, behind all
        before it, and without a task of its own."""
        service = self.router.service
        service.note(message.trace, "xmpp.in", message.recipient, message.sender, self.endpoint)
        try:
            await service.admit(message)
        except Refused as refusal:
            raise _hidden(refusal) from None
        self._launched()
        service.accept(message, partial(self._submitted, stanza, number))
        if self._in_flight >= WINDOW:
            await self._room.passed()

    def _submitted(
        self, stanza: Element, number: int, message: InstantMessage, outcome: object, bell: bool
    ) -> None:
        try:
            if isinstance(outcome, PresenceError):
                self.refuse(stanza, outcome)
                return
            if bell:
                self.runtime.spawn(self.router.service.wake(message))
            for hook in self.router.registry.accepted:
                hook(self, stanza, message)
        except Exception as error:
            self._crashed(stanza, error)
        finally:
            self._landed(number)

    async def _forward(self, stanza: Element, to: JID, otherwise: StanzaError | None) -> None:
        """To exactly the resource `to`, now."""
        if not await self.router.pass_on(carry(stanza, self._jid, to), to):
            if otherwise is not None:
                raise otherwise
            return
        if stanza.name == "message" and stanza.get("type") == "error":
            for hook in self.router.registry.bounced:
                await hook(self, stanza, to)

    async def _ask(self, stanza: Element, to: JID) -> None:
        """To exactly the resource `to`, now. The error that says it is not there is the very one strangers
        get when it is (RFC 6121 §8.5.3.1)."""
        question = carry(stanza, self._jid, to)
        if not await self.router.pass_on(question, to):
            await self.router.bounce(question)

    async def _iq(self, stanza: Element, number: int) -> bool:
        to = self._to(stanza)
        if to.domain in self.router.hosted:
            return await self._serve(stanza, number, to)
        if stanza.get("type") in iq.ANSWERS:
            if to.resource and to.local and self.router.service.serves(to.domain):
                await self._launch(stanza, number, self._forward(stanza, to, None))
                return True
            self.router.answered(stanza, self._jid, to)
            return False  # answers to us: pings, roster pushes
        iq.payload(stanza)
        self._local(to)
        await self._not_blocked(to)
        whom = iq.target(to, self._jid)
        if whom is None:
            await self._launch(stanza, number, self._ask(stanza, to))
            return True
        # in order (RFC 6120 §10.1): an answer of ours tells that everything before it was taken
        await self._quiet.passed()
        await iq.answer(self, stanza, to, whom)
        return False

    async def _presence(self, stanza: Element, number: int) -> bool:
        kind = stanza.get("type")
        to = self._to(stanza)
        ours = self.router.service.serves(to.domain)
        if not stanza.get("to"):
            if kind in ("", "unavailable"):
                self.availability.broadcast(stanza)
            elif kind != "error":
                raise StanzaError("bad-request", text="to whom?")
            return False
        if to.domain in self.router.hosted:
            if kind in ("", "unavailable"):
                stanza = self.availability.direct(stanza, to)
            return await self._serve(stanza, number, to)
        if kind in ("", *ACTS):
            await self._not_blocked(to)
        if kind in ("", "unavailable"):
            if ours:
                directed = self.availability.direct(stanza, to)
                await self._launch(stanza, number, self._forward(directed, to, None))
            elif not kind:
                raise StanzaError("remote-server-not-found")
            return ours
        if kind == "error":
            if ours and to.resource:
                await self._launch(stanza, number, self._forward(stanza, to, None))
                return True
            return False
        await self._negotiate(stanza, kind, to)
        return False

    async def _negotiate(self, stanza: Element, kind: str, to: JID) -> None:
        """Subscriptions and probes."""
        if kind == "probe":
            await self._probe(to)
        elif kind in ACTS:
            await self._act(stanza, to)
        else:
            raise StanzaError("bad-request", text="no such type of presence")

    async def _act(self, stanza: Element, to: JID) -> None:
        """RFC 6121 §3: always between bare JIDs."""
        if to.bare == self.address:
            return
        if not self.router.acts.allow(self.address, self.router.clock()):
            raise StanzaError("resource-constraint", "wait", "too many requests at once")
        service = self.router.service
        if stanza.get("type") == "subscribe":
            for hook in self.router.registry.asks:
                if await hook(self, stanza, to):
                    return
        try:
            await service.act(
                self.address,
                to.bare,
                ACTS[stanza.get("type")],
                notes=read_notes(stanza, self.lang),
                opaque=read_extras(stanza),
                trace=service.new_trace(),
            )
        except Refused as refusal:
            if refusal.condition is not Condition.ITEM_NOT_FOUND:  # RFC 6121 §8.5.1: silently
                raise

    async def _probe(self, to: JID) -> None:
        """RFC 6121 §4.3.2. A probe is never answered with an error."""
        service = self.router.service
        if not to.local or not service.serves(to.domain):
            return
        if to.bare != self.address:
            decision = await service.decide(self.address, to.bare)
            alone = await service.blocking.blocks(to.bare, self.address, self._jid.resource)
            if alone or decision.reason == BLOCKED:
                return
            if decision.standing is not Standing.ACTIVE:
                self.send(write_subscription(to.bare, "unsubscribed").to(self.escaped), "presence")
                return
        for rendered in await self.router.known(to, self.address):
            self.send(rendered.to(self.escaped), "presence")
            self.charge(rendered.size)

    # --- many at once -----------------------------------------------------------------------------------

    async def _launch(self, stanza: Element, number: int, work: Coroutine[Any, Any, None]) -> None:
        """Begin work that waits for the bus; return at once unless too much of it is under way."""
        self._launched()
        self.runtime.spawn(self._carry_out(stanza, number, work))
        await self._room.passed()

    def _launched(self) -> None:
        self._in_flight += 1
        if self._in_flight == 1:
            self._quiet.shut()
        if self._in_flight == WINDOW:
            self._room.shut()

    def _landed(self, number: int) -> None:
        self._in_flight -= 1
        if self._in_flight == WINDOW - 1:
            self._room.open()
        if not self._in_flight:
            self._quiet.open()
        self.progress.done(number)

    async def _carry_out(self, stanza: Element, number: int, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except (StanzaError, PresenceError) as refusal:
            self.refuse(stanza, refusal)
        except Exception as error:
            self._crashed(stanza, error)
        finally:
            self._landed(number)

    def _crashed(self, stanza: Element, error: Exception) -> None:
        log.error("xmpp_stanza_crashed", jid=self._jid.full, name=stanza.name, exc_info=error)
        self.router.metrics.count("xmpp_stanza_crashes_total")
        self.refuse(stanza, StanzaError("internal-server-error"))

    def refuse(self, stanza: Element, refusal: StanzaError | PresenceError) -> None:
        """Tell the client that its stanza was not taken; errors and results are never answered."""
        if not deserves_error(stanza):
            return
        error = refusal if isinstance(refusal, StanzaError) else to_stanza_error(refusal)
        self.router.metrics.count("xmpp_stanza_errors_total", condition=error.condition)
        if isinstance(refusal, InvalidAddress):
            stanza = Element(stanza.name, stanza.ns, dict(stanza.attrs), stanza.children)
            stanza.attrs.pop("to", None)
        self.send(serialise(error_stanza(stanza, error), CLIENT_NS).encode(), stanza.name)

    # --- to the client ----------------------------------------------------------------------------------

    def send(self, data: bytes, name: str, message: InstantMessage | None = None) -> None:
        """Queue one stanza. Whatever holds it back or keeps a copy is an extension."""
        outgoing = Outgoing(data, name, message)
        for hook in self.router.registry.outgoing:
            if not hook(self, outgoing):
                return
        if self.holds is None or not self.holds(outgoing):
            self.pass_out(outgoing)

    def pass_out(self, outgoing: Outgoing) -> None:
        """Send what nothing holds back."""
        if self.outbound is not None:
            self.outbound.send(outgoing.data)
        if self.sent is not None:
            self.sent(outgoing)

    def deliver(self, message: InstantMessage, *, delayed: bool) -> None:
        """A message of the bus: once, however often the bus says so."""
        if message.id in self._unsettled or message.id in self._unconfirmed:
            return
        if message.id in self._sent:
            self.settle(message, Delivery.DELIVERED)
            return
        if self._later or (self.outbound is not None and self.congested):
            self._postpone(message, delayed=delayed)
        else:
            self._deliver(message, delayed=delayed)

    def _postpone(self, message: InstantMessage, *, delayed: bool) -> None:
        """The client takes less than comes: what is owed to it waits here, in order."""
        now = self.router.clock()
        if message.id in self._later:  # the bus has looked after it
            if now - self._taken > STALLED:
                self.kick(StreamError("resource-constraint", "take what was sent to you"))
        elif message.store:
            if not self._later:
                self._taken = now
            self._later[message.id] = message, delayed
        else:
            self.router.metrics.count("xmpp_messages_left_out_total")

    def go_on(self) -> None:
        """The client has taken something."""
        while self._later and not self.congested:
            id = next(iter(self._later))
            message, delayed = self._later.pop(id)
            self._taken = self.router.clock()
            self._deliver(message, delayed=delayed)

    def _deliver(self, message: InstantMessage, *, delayed: bool) -> None:
        self._sent[message.id] = None
        if len(self._sent) > REMEMBERED:
            del self._sent[next(iter(self._sent))]
        if message.store:
            self._unsettled[message.id] = message
        self.send(write_message(message, delayed=delayed), "message", message)
        self.router.service.note(message.trace, "xmpp.out", message.recipient, message.sender, self.endpoint)
        for hook in self.router.registry.delivered:
            hook(self, message)

    def flushed(self) -> None:
        """See `xmpp.host.BoundSession.flushed`."""
        if self._unsettled:
            taken, self._unsettled = self._unsettled, {}
            for message in taken.values():
                self.settle(message, Delivery.DELIVERED)
        if self._later:
            self.go_on()

    def unconfirmed(self, message: InstantMessage) -> None:
        """From now on this one is settled by the client's word, not when the socket took it (XEP-0198)."""
        if self._unsettled.pop(message.id, None) is not None:
            self._unconfirmed[message.id] = message

    def confirmed(self, message: InstantMessage) -> None:
        """The client has it (XEP-0198)."""
        if self._unconfirmed.pop(message.id, None) is not None:
            self.settle(message, Delivery.DELIVERED)

    def charge(self, size: int) -> None:
        """The client is given so many bytes because it asked for them. Who asks for much is heard less often
        (`max_rate`)."""
        if self.outbound is not None:
            self.outbound.charge(ANSWER * size)

    def settle(self, message: InstantMessage, delivery: Delivery) -> None:
        if not message.store:
            return
        if delivery is Delivery.DELIVERED:
            self.router.service.delivered(message, self.endpoint, self._not_settled)
        else:
            self.runtime.spawn(self._settle(message, delivery))

    async def _settle(self, message: InstantMessage, delivery: Delivery) -> None:
        try:
            await self.router.service.settle(message, self.endpoint, delivery)
        except PresenceError as error:
            self._not_settled(message, error)

    @staticmethod
    def _not_settled(message: InstantMessage, error: PresenceError) -> None:
        """The bus drives it again, and we know it by its id."""
        log.info("settle_failed", message=message.id, reason=str(error), trace=message.trace)

    async def release(self) -> None:
        """Give back what the client did not take, for the session that replaces this one."""
        waiting = {id: message for id, (message, _) in self._later.items()}
        given_back = self._unsettled | self._unconfirmed | waiting
        self._unsettled, self._unconfirmed, self._later = {}, {}, {}
        for message in given_back.values():
            await self._settle(message, Delivery.UNREACHABLE)

    # --- from one process to another (XEP-0198) -----------------------------------------------------------

    @property
    def delivered(self) -> tuple[str, ...]:
        """Ids of the last messages the client was sent."""
        return tuple(self._sent)

    def restore(self, delivered: Iterable[str], unconfirmed: Iterable[InstantMessage]) -> None:
        """What the client was sent where the session comes from, and what of it it did not confirm."""
        self._sent = dict.fromkeys(delivered)
        self._unconfirmed = {message.id: message for message in unconfirmed if message.store}

    def depart(self) -> None:
        """It goes on in another process; nobody sees anything of it."""
        self.ended = self.superseded = self.moved = True
        self.router.left(self, "moved")
        self.availability.depart()
        for hook in self.router.registry.closed:
            hook(self, "moved")

    def show_request(self, item: RosterItem) -> None:
        """A subscription request that waits for the user's answer (RFC 6121 §3.1.3)."""
        request = write_subscription(item.contact, "subscribe", item.request, item.opaque)
        self.send(request.to(self.escaped), "presence")

    # --- life -------------------------------------------------------------------------------------------

    def attach(self, outbound: Outbound) -> None:
        """The client is back (XEP-0198)."""
        self.outbound = outbound
        self.heard = self.router.clock()

    def detach(self, error: StreamError) -> None:
        """Give up the connection that still looks alive: the client comes over another one."""
        if self.outbound is not None:
            old, self.outbound = self.outbound, None
            self._strays += 1
            old.close(error)

    async def closed(self, reason: str) -> None:
        """See `xmpp.host.BoundSession.closed`."""
        if self._strays:
            self._strays -= 1
            return
        self.outbound = None
        if self.ended:
            return
        kept = [hook(self, reason) for hook in self.router.registry.detached]
        if not any(kept):
            await self.end(reason)

    async def end(self, reason: str) -> None:
        """The session is over; whoever saw it sees it leave."""
        if self.ended:
            return
        self.ended = True
        self.router.left(self, reason)
        self.availability.leave(None)
        for hook in self.router.registry.closed:
            hook(self, reason)
        if not self.superseded:
            self.availability.publication.ended = True
            await self.availability.settle_down()

    def kick(self, error: StreamError) -> None:
        """End the stream from our side; without one, the session."""
        if self.outbound is not None:
            self.outbound.close(error)
        elif not self.ended:
            self.runtime.spawn(self.end(error.condition))
