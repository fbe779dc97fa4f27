"""A session that waits for its client goes to the process the client has come to (XEP-0198 §5).

That process asks all that have clients of the account. The one that has the session closes the old
connection, gives the session away as it is, and keeps what is sent to it from then on. The new one makes it
known to the bus, which sends what is owed to it there; then it says so, and gets what came meanwhile. Until
that is there it holds back everything else, so that the client is sent all of it once and in order.

Of a process that dies on the way: messages are owed by the bus, and go to whoever has the session then. The
rest is lost, as it is whenever the process dies that has a session.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import msgspec
import structlog

from presence.address import Address
from presence.errors import Unavailable
from presence.messages import InstantMessage
from presence.model import Person, PresenceTuple
from presence.ports import EndpointKind, Relay
from xmpp.errors import StanzaError, StreamError
from xmpp.extensions import Outgoing
from xmpp.host import Outbound
from xmpp.jid import JID, parse_jid
from xmpp.management import NS, Counted, Departure, Management, resumable, too_high
from xmpp.relay import Carried, envelope

if TYPE_CHECKING:
    from xmpp.router import XmppRouter
    from xmpp.runtime import Gate, Timer
    from xmpp.session import Session

log = structlog.get_logger()

ASK, GIVE, TAKEN, REST = "sm-ask", "sm-give", "sm-taken", "sm-rest"
"Words between processes (`xmpp.relay.Carried.name`)."
ANSWER_TIME = 5.0
"Seconds within which whoever has the session says so."
JOURNEY_TIME = 30.0
"Seconds after which a session that was given away, and is not known to have arrived, goes on to wait here."
REST_TIME = 5.0
"Seconds for which what came meanwhile is waited for."
KEY = "handover"


class Stanza(msgspec.Struct, frozen=True, array_like=True):
    """On its way to the client."""

    data: bytes
    name: str
    message: InstantMessage | None = None
    "What is owed."


class Shown(msgspec.Struct, frozen=True, array_like=True):
    """What the client was shown of one contact."""

    contact: Address
    version: int
    open: tuple[str, ...]
    "Ids of the tuples that were."


class Packed(msgspec.Struct, frozen=True, array_like=True):
    """A session on its way."""

    resource: str
    lang: str
    since: float
    interested: bool
    seconds: float
    "How long it waits for its client."
    handled: int
    acknowledged: int
    queue: tuple[Stanza, ...]
    delivered: tuple[str, ...]
    "Ids of messages the client was sent."
    presence: PresenceTuple | None
    person: Person | None
    capabilities: tuple[str, ...] | None
    directed: tuple[str, ...]
    shown: tuple[Shown, ...] | None
    "None: the client has not been shown its contacts yet."
    marks: tuple[str, ...]
    extra: dict[str, bytes]
    "What extensions packed, by their specification."


class Asked(msgspec.Struct, frozen=True, array_like=True):
    id: str
    h: int
    node: str
    "Who asks."


class Refusal(msgspec.Struct, frozen=True, array_like=True):
    """It is not here, or not to be had."""

    handled: int | None = None
    "It was here, and timed out after so many stanzas."
    sent: int | None = None
    "It is here; the client says to have more stanzas than these."


T = TypeVar("T")
_encode = msgspec.msgpack.Encoder().encode


def _decoded(carried: Carried, type: type[T]) -> T | None:
    """None for what another version of ours may have sent."""
    try:
        return msgspec.msgpack.decode(carried.stanza, type=type)
    except msgspec.MsgspecError as broken:
        log.warning("handover_unreadable", word=carried.name, reason=str(broken))
        return None


# --- where the client is --------------------------------------------------------------------------------


@dataclass(slots=True)
class Question:
    """Under way to whoever may have the session."""

    gate: Gate
    open: int = 0
    "Answers that are still to come."
    packed: Packed | None = None
    giver: str = ""
    "The process that had it."
    refusals: list[Refusal] = field(default_factory=list)

    def answered(self) -> None:
        self.open -= 1
        if self.packed is not None or self.open == 0:
            self.gate.open()


@dataclass(slots=True)
class Holding:
    """What waits for what was sent before it."""

    session: Session
    waiting: list[Outgoing] = field(default_factory=list)
    size: int = 0
    timer: Timer | None = None

    def hold(self, outgoing: Outgoing) -> bool:
        """See `xmpp.session.Session.holds`. What is more than a session may owe its client goes on at once,
        and ends the session there (`Management.sent`)."""
        if outgoing.message is not None:  # what the socket takes meanwhile is something else
            self.session.unconfirmed(outgoing.message)
        self.waiting.append(outgoing)
        self.size += len(outgoing.data)
        if self.session.router.settings.owes_too_much(len(self.waiting), self.size):
            self.release()
        return True

    def release(self, first: Iterable[Outgoing] = ()) -> None:
        if self.timer is not None:
            self.timer.cancel()
        if self.session.holds == self.hold:
            self.session.holds = None
        waiting, self.waiting = self.waiting, []
        for outgoing in (*first, *waiting):
            self.session.pass_out(outgoing)


@dataclass(slots=True)
class Arrivals:
    """Of one process."""

    questions: dict[str, Question] = field(default_factory=dict)
    holdings: dict[str, Holding] = field(default_factory=dict)
    "By the question the session came by."


def _arrivals(router: XmppRouter) -> Arrivals:
    found: Arrivals = router.extra.setdefault(KEY, Arrivals())
    return found


async def fetch(
    router: XmppRouter, address: Address, id: str, h: int, outbound: Outbound
) -> Management | int | None:
    """The session, which is here from now on; how far it had come if it timed out; or nothing. `h`: what the
    client has. Raises `StreamError`."""
    name = router.service.new_trace()
    question = Question(router.runtime.gate())
    question.gate.shut()
    questions = _arrivals(router).questions
    questions[name] = question
    timer = router.runtime.call_later(ANSWER_TIME, question.gate.open)
    try:
        await _ask(router, address, name, question, Asked(id, h, router.service.node))
    except Unavailable:
        return None
    finally:
        timer.cancel()
        del questions[name]
    for refusal in question.refusals:
        if refusal.sent is not None:
            raise too_high(h, refusal.sent)
    if question.packed is not None:
        return await _unpack(router, address, id, name, question, outbound)
    return next((r.handled for r in question.refusals if r.handled is not None), None)


async def _ask(router: XmppRouter, address: Address, name: str, question: Question, asked: Asked) -> None:
    to = JID.of(address)
    word = Carried(ASK, "", router.service.owner, to.full, name, _encode(asked))
    question.open += await router.service.relay(envelope(word, to))
    if question.open > 0 and question.packed is None:
        await question.gate.passed()


def given(router: XmppRouter, carried: Carried, to: JID) -> None:
    """An answer."""
    question = _arrivals(router).questions.get(carried.id)
    if carried.type == "error":
        refusal = _decoded(carried, Refusal)
        if question is not None and refusal is not None:
            question.refusals.append(refusal)
            question.answered()
        return
    packed = _decoded(carried, Packed)
    if question is None or packed is None:  # too late
        router.runtime.spawn(_say(router, carried.sender, TAKEN, to.bare, carried.id, b"", "error"))
        return
    question.packed, question.giver = packed, carried.sender
    question.answered()


async def _unpack(
    router: XmppRouter, address: Address, id: str, name: str, question: Question, outbound: Outbound
) -> Management | None:
    packed, giver = question.packed, question.giver
    assert packed is not None
    try:
        session = router.admit(JID.of(address, packed.resource), outbound, packed.lang)
    except StanzaError:  # too many of them, or the client has bound the resource here meanwhile
        await _say(router, giver, TAKEN, address, name, b"", "error")
        return None
    later = _restore(session, packed)
    queue = tuple(Outgoing(each.data, each.name, each.message) for each in packed.queue)
    counted = Counted(packed.handled, packed.acknowledged, queue)
    session.extra[NS] = managed = Management(session, id, packed.seconds, counted)
    resumable(router).sessions[id] = managed
    holding = _arrivals(router).holdings[name] = Holding(session)
    session.holds = holding.hold
    shown = {each.contact: (each.version, each.open) for each in packed.shown or ()}
    await session.availability.come_back(shown if packed.shown is not None else None)
    for work in later:
        await work
    holding.timer = router.runtime.call_later(REST_TIME, lambda: _let_go(router, name, ()))
    await _say(router, giver, TAKEN, address, name, _encode(router.service.node))
    log.info("session_moved", jid=session.jid.full, giver=giver)
    return managed


def _restore(session: Session, packed: Packed) -> list[Awaitable[None]]:
    """Returns what is to be done when the bus knows that the session is here."""
    session.since, session.interested = packed.since, packed.interested
    messages = [each.message for each in packed.queue if each.message is not None]
    session.restore(packed.delivered, messages)
    directed = [parse_jid(each) for each in packed.directed]
    session.availability.restore(packed.presence, packed.person, packed.capabilities, directed)
    session.extra.update((key, True) for key in packed.marks)
    registry, later = session.router.registry, []
    for spec, luggage in packed.extra.items():
        if (unpack := registry.unpacks.get(spec)) is not None and (
            work := unpack(session, luggage)
        ) is not None:
            later.append(work)
    return later


def rest(router: XmppRouter, carried: Carried, to: JID) -> None:
    """What came while the session was on its way."""
    stanzas = _decoded(carried, tuple[Stanza, ...]) or ()
    _let_go(router, carried.id, [Outgoing(each.data, each.name) for each in stanzas])


def _let_go(router: XmppRouter, question: str, first: Iterable[Outgoing]) -> None:
    holding = _arrivals(router).holdings.pop(question, None)
    if holding is not None:
        holding.release(first)


# --- where the session was ------------------------------------------------------------------------------


def asked(router: XmppRouter, carried: Carried, to: JID) -> None:
    """Is it here?"""
    if (wanted := _decoded(carried, Asked)) is not None:
        router.runtime.spawn(_give(router, to.bare, carried.id, wanted))


async def _give(router: XmppRouter, address: Address, name: str, wanted: Asked) -> None:
    here = resumable(router)
    managed = here.find(wanted.id, address) if wanted.node != router.service.node else None
    if managed is None:
        refusal = Refusal(handled=here.last_handled(wanted.id, address))
        await _say(router, wanted.node, GIVE, address, name, _encode(refusal), "error")
        return
    departure = Departure(name)
    try:
        managed.check(wanted.h)
        first = await managed.take_over(departure) and not departure.cancelled
        if not first or here.find(wanted.id, address) is not managed:
            await _say(router, wanted.node, GIVE, address, name, _encode(Refusal()), "error")
            return
        managed.acknowledge(wanted.h)
    except StreamError:
        managed.newcomer = None
        refusal = Refusal(sent=managed.sent_so_far)
        await _say(router, wanted.node, GIVE, address, name, _encode(refusal), "error")
        return
    session = managed.session
    for hook in router.registry.resumed:  # what was held back for the client goes along
        hook(session)
    managed.depart(departure, lambda: _come_back(managed, departure), JOURNEY_TIME)
    try:
        await _post(router, wanted.node, GIVE, address, name, _encode(pack(managed)))
    except Unavailable:
        _come_back(managed, departure)


def pack(managed: Management) -> Packed:
    session = managed.session
    availability, registry = session.availability, session.router.registry
    luggage = ((spec, packs(session)) for spec, packs in registry.packs.items())
    return Packed(
        resource=session.jid.resource,
        lang=session.lang,
        since=session.since,
        interested=session.interested,
        seconds=managed.seconds,
        handled=managed.handled,
        acknowledged=managed.acknowledged,
        queue=tuple(Stanza(each.data, each.name, each.message) for each in managed.queue),
        delivered=session.delivered,
        presence=availability.tuple,
        person=availability.publication.person,
        capabilities=availability.capabilities,
        directed=tuple(availability.directed),
        shown=tuple(Shown(*each) for each in availability.seen()) if availability.shown else None,
        marks=tuple(sorted(registry.marks & session.extra.keys())),
        extra={spec: packed for spec, packed in luggage if packed},
    )


def _come_back(managed: Management, departure: Departure) -> None:
    if managed.departure is departure and not managed.session.ended:
        log.info("session_not_moved", jid=managed.session.jid.full)
        managed.departure = None
        for hook in managed.session.router.registry.detached:
            hook(managed.session, "lost")


def taken(router: XmppRouter, carried: Carried, to: JID) -> None:
    """It has arrived, or is not wanted any more."""
    managed = resumable(router).departing(carried.id)
    if managed is None or managed.departure is None or managed.session.address != to.bare:
        return
    if carried.type == "error":
        _come_back(managed, managed.departure)
        return
    came = list(managed.queue)[managed.departure.sent :]
    managed.queue.clear()
    managed.session.depart()
    # messages that are owed are sent there by the bus
    follow = tuple(
        Stanza(each.data, each.name) for each in came if each.message is None or not each.message.store
    )
    router.runtime.spawn(_say(router, carried.sender, REST, to.bare, carried.id, _encode(follow)))


async def _post(
    router: XmppRouter, node: str, word: str, about: Address, question: str, said: bytes, type: str = ""
) -> None:
    """To one process."""
    carried = Carried(word, type, router.service.node, str(about), question, said)
    relay = Relay(address=about, endpoint="", kind=EndpointKind.XMPP, payload=_encode(carried))
    await router.service.post(node, relay)


async def _say(
    router: XmppRouter, node: str, word: str, about: Address, question: str, said: bytes, type: str = ""
) -> None:
    """As `_post`; the other one waits for it only so long."""
    with suppress(Unavailable):
        await _post(router, node, word, about, question, said, type)


WORDS: dict[str, Callable[[XmppRouter, Carried, JID], None]] = {
    ASK: asked,
    GIVE: given,
    TAKEN: taken,
    REST: rest,
}
