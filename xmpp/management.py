"""What XEP-0198 keeps of one session: the counters, and the queue of what its client has not acknowledged."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from presence.address import Address
from xmpp.element import CLIENT_NS, E, Element
from xmpp.errors import StreamError
from xmpp.extensions import Outgoing
from xmpp.host import Outbound
from xmpp.presence import DELAY_NS
from xmpp.serialiser import escape_attribute, serialise
from xmpp.timestamps import stamp

if TYPE_CHECKING:
    from xmpp.router import XmppRouter
    from xmpp.runtime import Timer
    from xmpp.session import Session

log = structlog.get_logger()

NS = "urn:xmpp:sm:3"
COUNTERS = 2**32
"`h` begins anew after so many (§4)."
EVERY = 10
"Stanzas other than messages after which the client is asked what it has."
REMEMBERED = 10_000
"Sessions that timed out, of which a late client is still told how far it was understood."

_REQUEST = f"<r xmlns='{NS}'/>".encode()
_ANSWER = f"<a xmlns='{NS}' h='%d'/>".encode()
_MESSAGE_END = b"</message>"


@dataclass(frozen=True, slots=True)
class Counted:
    """Where a session stood in the process it comes from."""

    handled: int = 0
    acknowledged: int = 0
    queue: tuple[Outgoing, ...] = ()


class Management:
    """The counters and the queue of one session."""

    def __init__(self, session: Session, id: str, seconds: float, before: Counted | None = None) -> None:
        self.session = session
        self.id = id
        "Empty: not to be resumed."
        self.seconds = seconds
        before = before or Counted()
        self._base = session.progress.begun - before.handled
        "Stanzas that came before acknowledgements were enabled; they do not count."
        self.queue: deque[Outgoing] = deque(before.queue)
        "Sent, or to be sent at resumption, and not acknowledged."
        self._size = session.unacknowledged = sum(len(each.data) for each in self.queue)
        self._messages = sum(each.message is not None for each in self.queue)
        "Messages in the queue."
        self.acknowledged = before.acknowledged
        "Of ours, by the client."
        self._requested = False
        self._asked: int | None = None
        "The client wants to hear when we have come so far."
        self._caught_up = session.runtime.gate()
        self._full = False
        self._timer: Timer | None = None
        self.newcomer: Outbound | Departure | None = None
        "The connection over which the session is about to go on."
        self.departure: Departure | None = None
        "The session is on its way to another process."
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
            if self.session.outbound is not None:
                self.session.outbound.send(_ANSWER % self.handled)
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
        if self.session.router.settings.owes_too_much(len(self.queue), self._size):
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

    @property
    def sent_so_far(self) -> int:
        """Stanzas the client was sent, or will be."""
        return (self.acknowledged + len(self.queue)) % COUNTERS

    def check(self, h: int) -> int:
        """How many more the client has than we knew. Raises `StreamError` for more than it was sent (§6)."""
        more = (h - self.acknowledged) % COUNTERS
        if more > len(self.queue):
            raise too_high(h, self.sent_so_far)
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
        self._timer = self.session.runtime.call_later(self.seconds, self._expire)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        self.session.runtime.spawn(self.session.end("timeout"))

    async def take_over(self, newcomer: Outbound | Departure) -> bool:
        """Let what the old connection brought be dealt with, so that our `h` is the last word about it.
        False: the client came over yet another connection meanwhile."""
        session = self.session
        if self.newcomer is not None:
            self.newcomer.close(StreamError("conflict", "resumed by a newer connection"))
        self.newcomer = newcomer
        if session.outbound is not None:
            session.detach(StreamError("conflict", "resumed by a newer connection"))
            self.wait()
        await self.caught_up()
        return self.newcomer is newcomer

    def depart(self, departure: Departure, back: Callable[[], None], seconds: float) -> None:
        """The client goes on in another process; after some seconds without a word from there `back` is
        called. What is sent from now on is sent after it."""
        self.newcomer, self.departure = None, departure
        departure.sent = len(self.queue)
        self.stop()
        self._timer = self.session.runtime.call_later(seconds, back)

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


@dataclass(slots=True)
class Departure:
    """Of a session, to another process."""

    question: str
    "Of the process that asked for it."
    sent: int = 0
    "How many stanzas of the queue went along."
    cancelled: bool = False

    def close(self, error: StreamError) -> None:
        """The client came back here before."""
        self.cancelled = True


def too_high(h: int, count: int) -> StreamError:
    """§6: more stanzas than were sent."""
    attrs = {"h": str(h), "send-count": str(count)}
    text = f"you acknowledged {h} stanzas of {count}"
    return StreamError("undefined-condition", text, E("handled-count-too-high", NS, attrs))


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
        if self.sessions.pop(managed.id, None) is not None and not managed.session.moved:
            self._ended[managed.id] = managed.session.address, managed.handled
            if len(self._ended) > REMEMBERED:
                self._ended.popitem(last=False)

    def find(self, id: str, address: Address) -> Management | None:
        managed = self.sessions.get(id)
        if managed is None or managed.session.address != address or managed.session.ended:
            return None
        return managed if managed.departure is None else None

    def departing(self, question: str) -> Management | None:
        """The session that is on its way to who asked so."""
        return next(
            (m for m in self.sessions.values() if m.departure and m.departure.question == question), None
        )

    def last_handled(self, id: str, address: Address) -> int | None:
        """The `h` of a session of theirs that timed out."""
        owner, handled = self._ended.get(id, (None, 0))
        return handled if owner == address else None


def resumable(router: XmppRouter) -> Resumable:
    found: Resumable | None = router.extra.get(NS)
    if found is None:
        found = router.extra[NS] = Resumable()
    return found


def say(session: Session, element: Element) -> None:
    """Something that is no stanza and not counted."""
    if session.outbound is not None:
        session.outbound.send(serialise(element, CLIENT_NS).encode())
