"""XEP-0198 Stream Management: stanzas are acknowledged both ways, and a session outlives its connection.

Messages count as delivered when the client says so. A client's stanzas are acknowledged when they are dealt
with: what it sent is then with the bus, or refused.

While its client is away a session stays what it was, for `resume_timeout` seconds and `max_unacknowledged`
stanzas. Then it ends as if the client had left: messages go to the user's other clients or wait, requests are
answered with an error.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict, deque
from typing import TYPE_CHECKING

import structlog

from presence.address import Address
from presence.errors import InvalidAddress
from xmpp.element import CLIENT_NS, STANZAS_NS, E, Element
from xmpp.entrance import Entrance
from xmpp.errors import StreamError
from xmpp.extensions import Extension, Outgoing, Status
from xmpp.host import Outbound, Resumed
from xmpp.jid import parse_jid
from xmpp.presence import DELAY_NS
from xmpp.reader import parse_fragment
from xmpp.relay import Carried
from xmpp.serialiser import escape_attribute, serialise
from xmpp.timestamps import stamp

if TYPE_CHECKING:
    from xmpp.negotiation import Negotiation
    from xmpp.router import XmppRouter
    from xmpp.runtime import Timer
    from xmpp.session import Session
    from xmpp.welcome import Welcome

log = structlog.get_logger()

NS = "urn:xmpp:sm:3"
COUNTERS = 2**32
"`h` begins anew after so many (§4)."
EVERY = 10
"Stanzas other than messages after which the client is asked what it has."
REMEMBERED = 10_000
"Sessions that timed out, of which a late client is still told how far it was understood."
WAITED_FOR = frozenset({"lost", "connection-timeout", "resource-constraint"})
"How a connection may end for its session to go on: not by the client's `</stream:stream>`, nor by its fault."

_REQUEST = f"<r xmlns='{NS}'/>".encode()
_MESSAGE_END = b"</message>"


class Management:
    """The counters and the queue of one session."""

    def __init__(self, session: Session, id: str, seconds: float) -> None:
        self.session = session
        self.id = id
        "Empty: not to be resumed."
        self._seconds = seconds
        self._base = session.progress.begun
        "Stanzas that came before acknowledgements were enabled; they do not count."
        self.queue: deque[Outgoing] = deque()
        "Sent, or to be sent at resumption, and not acknowledged."
        self._size = 0
        self._messages = 0
        "Messages in the queue."
        self.acknowledged = 0
        "Of ours, by the client."
        self._requested = False
        self._asked: int | None = None
        "The client wants to hear when we have come so far."
        self._caught_up = session.runtime.gate()
        self._full = False
        self._timer: Timer | None = None
        self.newcomer: Outbound | None = None
        "The connection over which the session is about to go on."
        session.progress.moved = self._moved
        session.sent = self.sent

    # --- the client's stanzas ---------------------------------------------------------------------------

    @property
    def handled(self) -> int:
        """Our `h`."""
        return max(0, self.session.progress.handled - self._base) % COUNTERS

    def asked(self) -> None:
        """`<r/>`: answered when everything before it is dealt with; several at once by one answer."""
        self._asked = self.session.progress.begun
        self._moved()

    def _moved(self) -> None:
        progress = self.session.progress
        if self._asked is not None and progress.handled >= self._asked:
            self._asked = None
            _say(self.session, E("a", NS, {"h": str(self.handled)}))
        if progress.handled == progress.begun:
            self._caught_up.open()

    async def caught_up(self) -> None:
        """Everything that came is dealt with."""
        progress = self.session.progress
        if progress.handled != progress.begun:
            self._caught_up.shut()
            await self._caught_up.passed()

    # --- our stanzas ------------------------------------------------------------------------------------

    def sent(self, outgoing: Outgoing) -> None:
        """See `xmpp.session.Session.sent`."""
        if outgoing.message is not None:
            self.session.unconfirmed(outgoing.message)
        if self._full:
            return
        self.queue.append(outgoing)
        self._size += len(outgoing.data)
        self.session.unacknowledged = self._size
        if outgoing.message is not None:
            self._messages += 1
        settings = self.session.router.settings
        if len(self.queue) > settings.max_unacknowledged or self._size > settings.max_outbound // 2:
            self._full = True
            log.info("session_queue_full", jid=self.session.jid.full, stanzas=len(self.queue))
            self.session.kick(StreamError("policy-violation", "too many stanzas are not acknowledged"))
        elif not self._requested:
            self._request()

    def _request(self) -> None:
        outbound = self.session.outbound
        if outbound is not None and (self._messages or len(self.queue) >= EVERY):
            self._requested = True
            outbound.send(_REQUEST)

    def check(self, h: int) -> int:
        """How many more the client has than we knew. Raises `StreamError` for more than it was sent (§6)."""
        more = (h - self.acknowledged) % COUNTERS
        if more > len(self.queue):
            count = (self.acknowledged + len(self.queue)) % COUNTERS
            attrs = {"h": str(h), "send-count": str(count)}
            raise StreamError(
                "undefined-condition",
                f"you acknowledged {h} stanzas of {count}",
                E("handled-count-too-high", NS, attrs),
            )
        return more

    def acknowledge(self, h: int) -> None:
        """The client has our first `h` stanzas. Raises `StreamError`."""
        more = self.check(h)
        self.acknowledged = h
        self._requested = False
        for _ in range(more):
            outgoing = self.queue.popleft()
            self._size -= len(outgoing.data)
            if outgoing.message is not None:
                self._messages -= 1
                self.session.confirmed(outgoing.message)
        if more:
            self.session.unacknowledged = self._size
            self._request()

    # --- away and back ----------------------------------------------------------------------------------

    def wait(self) -> None:
        """The connection is gone."""
        self._requested = False
        self._asked = None
        self.stop()
        self._timer = self.session.runtime.call_later(self._seconds, self._expire)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        self.session.runtime.spawn(self.session.end("timeout"))

    def resume(self, outbound: Outbound, h: int) -> None:
        """Go on over `outbound`: send again what the client does not have (§5)."""
        self.stop()
        self.newcomer = None
        self.session.attach(outbound)
        self.acknowledge(h)
        for outgoing in self.queue:
            outbound.send(_dated(outgoing))
        self._requested = False
        self._request()
        self.session.go_on()


def _dated(outgoing: Outgoing) -> bytes:
    """A message that is sent again, or late, says when it was sent first (XEP-0203)."""
    message, data = outgoing.message, outgoing.data
    if message is None or not data.endswith(_MESSAGE_END):
        return data
    delay = f"<delay xmlns='{DELAY_NS}' from='{escape_attribute(message.recipient.domain)}'"
    if delay.encode() in data:
        return data
    return data[: -len(_MESSAGE_END)] + f"{delay} stamp='{stamp(message.created)}'/>".encode() + _MESSAGE_END


class Resumable:
    """The sessions of this process that may be taken up again."""

    def __init__(self) -> None:
        self.sessions: dict[str, Management] = {}
        self._ended: OrderedDict[str, tuple[Address, int]] = OrderedDict()

    def ended(self, managed: Management) -> None:
        if self.sessions.pop(managed.id, None) is not None:
            self._ended[managed.id] = managed.session.address, managed.handled
            if len(self._ended) > REMEMBERED:
                self._ended.popitem(last=False)

    def find(self, id: str, address: Address) -> Management | None:
        managed = self.sessions.get(id)
        mine = managed is not None and managed.session.address == address and not managed.session.ended
        return managed if mine else None

    def last_handled(self, id: str, address: Address) -> int | None:
        """The `h` of a session of theirs that timed out."""
        owner, handled = self._ended.get(id, (None, 0))
        return handled if owner == address else None


def _resumable(router: XmppRouter) -> Resumable:
    found: Resumable | None = router.extra.get(NS)
    if found is None:
        found = router.extra[NS] = Resumable()
    return found


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
            _say(session, _enable(session, element))
        case "resume":
            _say(session, _failed("unexpected-request"))
        case "r" if managed is not None:
            managed.asked()
        case "a" if managed is not None:
            h = _count(element.get("h"))
            if h is None:
                raise StreamError("bad-format", "h is a number")
            managed.acknowledge(h)
            session.go_on()
        case "r" | "a":
            _say(session, _failed("unexpected-request"))
        case _:
            raise StreamError("unsupported-stanza-type")


def _say(session: Session, element: Element) -> None:
    """Something that is no stanza and not counted."""
    if session.outbound is not None:
        session.outbound.send(serialise(element, CLIENT_NS).encode())


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
        _resumable(session.router).sessions[id] = managed
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
    resumable = _resumable(router)
    managed = resumable.find(id, address)
    if managed is not None:
        managed.check(h)
        await _take_over(managed, outbound)
        if managed.newcomer is not outbound:  # the client came over yet another connection meanwhile
            raise StreamError("conflict", "resumed by a newer connection")
        managed = resumable.find(id, address)
    if managed is None:
        # GAP XEP-0198 §5: a session that lives in another of our processes is not found
        router.metrics.count("xmpp_resumptions_total", outcome="item-not-found")
        return _failed("item-not-found", resumable.last_handled(id, address))
    session = managed.session
    managed.resume(outbound, h)
    for hook in router.registry.resumed:
        hook(session)
    router.metrics.count("xmpp_resumptions_total", outcome="resumed")
    log.info("session_resumed", jid=session.jid.full, sent_again=len(managed.queue))
    return managed


async def _take_over(managed: Management, outbound: Outbound) -> None:
    """Let what the old connection brought be dealt with, so that our `h` is the last word about it."""
    session = managed.session
    if managed.newcomer is not None:
        managed.newcomer.close(StreamError("conflict", "resumed by a newer connection"))
    managed.newcomer = outbound
    if session.outbound is not None:
        session.detach(StreamError("conflict", "resumed by a newer connection"))
        managed.wait()
    await managed.caught_up()


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
    _resumable(session.router).ended(managed)
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
    status=Status.PARTIAL,
    notes="With resumption, in the process that has the session; no location is named.",
    stream_features=(_feature,),
    elements={NS: _receive},
    negotiable={NS: _negotiate},
    entrance=Entrance(inline_features=_inline_features, inline=_inline, order=10),
    at_binding={NS: _at_binding},
    detached=_detached,
    closed=_closed,
)
