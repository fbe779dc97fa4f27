"""One client's stream, whatever carries it: it drives a `Negotiation`, then a `BoundSession`.

A transport is a subclass: it turns what comes into events (`_take`), puts the words of RFC 6120, RFC 7395 or
XEP-0206 around what goes out, and says when it was taken.

Events are worked through strictly in order by at most one task, which lives only while there is something
to do. Output is gathered and given to the transport once per turn of the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, assert_never

import structlog

from presence.address import Address
from xmpp.effects import Bound, Close, Effect, LoggedIn, LoginFailed, NewStream, Opened, Send, StartTls
from xmpp.element import Element
from xmpp.errors import StreamError
from xmpp.host import BoundSession
from xmpp.negotiation import Negotiation, check_from
from xmpp.rate import Allowance
from xmpp.stream import Event, StanzaReceived, StreamClosed, StreamFailed

if TYPE_CHECKING:
    from xmpp.edge.listener import Listener

log = structlog.get_logger()

BACKLOG = 128
"Events that may wait for the session before reading pauses."
STANZA = 512
"What a stanza counts beside its bytes (`max_rate`): tiny ones take hardly less work than others."
_TURN = 32
"Events worked through before others get their turn."


class ClientStream:
    """Implements `xmpp.host.Outbound`."""

    __slots__ = (
        "_allowance",
        "_backlog",
        "_broken",
        "_corked",
        "_end",
        "_gone",
        "_held_back",
        "_listener",
        "_loop",
        "_mechanism",
        "_negotiation",
        "_out",
        "_out_size",
        "_reading",
        "_session",
        "_since",
        "_throttled",
        "_timer",
        "_worker",
        "heard",
        "peer",
    )

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._loop = listener.loop
        self._negotiation: Negotiation | None = None
        self._session: BoundSession | None = None
        self._worker: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._backlog: list[Event] = []
        self._out: list[bytes] = []
        self._out_size = 0
        self._corked = False
        self._held_back = False
        "Output waits for the answer to resource binding."
        self._reading = True
        self._end = ""
        "Why the stream is over; empty while it is not."
        self._gone = False
        "The client is: nothing more will come."
        self._broken = False
        "Nothing can be written any more."
        self._allowance: Allowance | None = None
        self._throttled: asyncio.TimerHandle | None = None
        "Nothing is read until then: the client sends too fast."
        self._mechanism = ""
        self._since = self.heard = self._loop.time()
        "Loop time of the last bytes from the client."
        self.peer = ""
        "Its IP address."

    # --- what a transport does ----------------------------------------------------------------------------

    def _say_header(self, header: Opened) -> None:
        """Our side of the stream begins."""
        raise NotImplementedError

    def _say_end(self, error: StreamError | None) -> None:
        """Our side of the stream ends; `_leave` follows."""
        raise NotImplementedError

    def _leave(self, reason: str) -> None:
        """Everything is said: write it, and close when the client has had a moment to do so."""
        raise NotImplementedError

    def _flush(self, *, last: bool = False) -> None:
        """Write what is gathered in `_out`, unless it is held back or the way is full; call
        `BoundSession.flushed` when it was taken."""
        raise NotImplementedError

    def abort(self) -> None:
        """Be gone, now."""
        raise NotImplementedError

    def pending(self) -> int:
        """Bytes not yet taken."""
        return self._out_size

    def _pause_reading(self) -> None:
        self._reading = False

    def _resume_reading(self) -> None:
        self._reading = True

    def _start_tls(self, proceed: str) -> None:
        """The client asked for TLS within the stream, where that was offered."""

    def _new_stream(self) -> None:
        """The client begins a new stream now (RFC 6120 §4.3.3)."""

    def _more_waits(self) -> bool:
        """Something has come behind the event in hand."""
        return bool(self._backlog)

    def _negotiated(self) -> None:
        """One event of the negotiation is answered."""

    def _whole(self) -> None:
        """Negotiation is over: the limits of known clients hold from now on."""

    def _security(self) -> str:
        """For humans: what protects the stream; empty for nothing."""
        return ""

    def park(self) -> bool:
        """Nothing was heard for a while: let memory go; whether there was some."""
        return False

    # --- life ---------------------------------------------------------------------------------------------

    def _begin(self, *, may_be_clear: bool, upgradable: bool = True) -> bool:
        """Count it and begin to negotiate; False when there are too many. `upgradable`: to TLS, within the
        stream."""
        if not self._listener.admit(self):
            self._broken = True
            self._end = "refused"
            return False
        realm = self._listener.realm
        self._negotiation = self._negotiate_by(may_be_clear=may_be_clear, upgradable=upgradable)
        self._timer = self._loop.call_later(realm.settings.login_timeout, self._too_slow)
        self._allow(realm.settings.max_rate_before_login)
        return True

    def _allow(self, rate: int) -> None:
        """From now on this many bytes a second; 0: any."""
        burst = self._listener.realm.settings.rate_burst
        self._allowance = Allowance(rate, burst, self._loop.time()) if rate else None

    def _spent(self, size: int) -> None:
        """So many bytes have come."""
        if self._allowance is not None and (wait := self._allowance.spend(size, self.heard)):
            if self._throttled is not None:
                self._throttled.cancel()
            else:
                self._listener.metrics.count("xmpp_streams_slowed_total")
            self._throttled = self._loop.call_later(wait, self._unthrottle)
            self._pause_reading()

    def charge(self, size: int) -> None:
        """See `xmpp.host.Outbound.charge`."""
        if not self._end:
            self._spent(size)

    def _unthrottle(self) -> None:
        self._throttled = None
        if len(self._backlog) <= BACKLOG:
            self._resume_reading()

    def _negotiate_by(self, *, may_be_clear: bool, upgradable: bool) -> Negotiation:
        return Negotiation(self._listener.realm, self, may_be_clear=may_be_clear, upgradable=upgradable)

    def _from(self, stanza: Element) -> Element:
        """A stanza with the sender's address in it. Raises `StreamError`."""
        assert self._session is not None
        return check_from(stanza, self._session.jid)

    def _disconnected(self) -> None:
        """The transport is no more."""
        self._broken = True
        for timer in (self._timer, self._throttled):
            if timer is not None:
                timer.cancel()
        self._timer = self._throttled = None
        self._lost()
        self._listener.forget(self, self._worker)

    def _lost(self) -> None:
        """The client went without a word. What it had sent is still worked through."""
        self._gone = True
        if not self._end:
            self._start_work()

    def _too_slow(self) -> None:
        self._timer = None
        self._finish(StreamError("connection-timeout", "log in sooner"), "connection-timeout")

    # --- in -----------------------------------------------------------------------------------------------

    def _take(self, events: Sequence[Event]) -> None:
        if not events:
            return
        self._spent(STANZA * len(events))
        self._backlog.extend(events)
        if self._worker is None:
            self._start_work()
        elif len(self._backlog) > BACKLOG:
            self._pause_reading()

    def _start_work(self) -> None:
        if self._worker is None:
            self._worker = self._listener.spawn(self._work())

    async def _work(self) -> None:
        """Take events until there are none; then, if the stream is over, tell the session."""
        try:
            await self._work_through()
        except StreamError as error:
            self._finish(error, error.condition)
        except Exception:
            log.exception("xmpp_stream_crashed", jid=self._who(), peer=self.peer)
            self._listener.metrics.count("xmpp_stream_crashes_total")
            self._finish(StreamError("internal-server-error"), "internal-server-error")
        if self._gone and not self._end:
            self._end = "lost"
        if self._end:
            self._backlog.clear()
            await self._close_session()
        self._worker = None
        if not self._end:
            self._resume_reading()

    async def _close_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            try:
                await session.closed(self._end)
            except Exception:
                log.exception("xmpp_session_close_failed", jid=session.jid.full, reason=self._end)

    async def _work_through(self) -> None:
        backlog = self._backlog
        turn = 0
        while backlog and not self._end:
            event = backlog.pop(0)
            session = self._session
            if session is None:
                await self._negotiate(event)
            elif isinstance(event, StanzaReceived):
                await session.receive(self._from(event.element))
            else:
                self._over(event)
            turn += 1
            if turn % _TURN == 0:
                if len(backlog) <= BACKLOG:
                    self._resume_reading()
                await asyncio.sleep(0)

    def _over(self, event: Event) -> None:
        if isinstance(event, StreamFailed):
            self._finish(event.error, event.error.condition)
        elif isinstance(event, StreamClosed):
            self._finish(None, "closed")

    async def _negotiate(self, event: Event) -> None:
        negotiation = self._negotiation
        if negotiation is None or self._end:
            return
        self._held_back = True  # what a session says before `bind` has returned goes behind our answer
        try:
            effects = await negotiation.receive(event, more=self._more_waits())
        finally:
            self._held_back = False
        for effect in effects:
            self._perform(effect)
        self._negotiated()

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Opened():
                self._say_header(effect)
            case Send(text):
                self.send(text.encode())
            case StartTls(proceed):
                self._start_tls(proceed)
            case NewStream():
                self._new_stream()
            case LoggedIn(address, mechanism):
                self._mechanism = mechanism
                self._listener.logged_in(self)
                self._listener.metrics.count("xmpp_logins_total", mechanism=mechanism, outcome="success")
                log.info("xmpp_logged_in", address=str(address), mechanism=mechanism, peer=self.peer)
            case LoginFailed(who, mechanism, condition, why):
                self._listener.metrics.count("xmpp_logins_total", mechanism=mechanism, outcome=condition)
                log.info("xmpp_login_failed", address=who, condition=condition, why=why, peer=self.peer)
            case Bound(session, answers):
                self._bound(session, [answer.encode() for answer in answers])
            case Close(error):
                self._finish(error, error.condition if error is not None else "closed")
            case _:
                assert_never(effect)

    def _bound(self, session: BoundSession, answers: list[bytes]) -> None:
        self._session = session
        if self._end:  # too late; the worker will tell the session
            return
        self._negotiation = None
        self._whole()
        self._allow(self._listener.realm.settings.max_rate)
        self._out[:0] = answers
        self._out_size += sum(map(len, answers))
        self._flush()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- out: `Outbound` ----------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        if self._end:
            return
        self._out.append(data)
        self._out_size += len(data)
        if not self._corked:
            self._corked = True
            self._loop.call_soon(self._uncork)
        if self._out_size > self._listener.max_outbound:
            self._overflow()

    def _uncork(self) -> None:
        self._corked = False
        self._flush()

    def close(self, error: StreamError | None) -> None:
        self._backlog.clear()
        self._finish(error, error.condition if error is not None else "closed")

    def info(self) -> dict[str, Any]:
        now = self._loop.time()
        return {
            "peer": self.peer,
            "tls": self._security(),
            "mechanism": self._mechanism,
            "seconds": round(now - self._since, 1),
            "silent": round(now - self.heard, 1),
            "pending": self.pending(),
            "paused": not self._reading,
        }

    @property
    def bound(self) -> bool:
        return self._session is not None

    @property
    def proven(self) -> Address | None:
        """Whom the client has proved to be, while it has no resource yet."""
        negotiation = self._negotiation
        if negotiation is None:
            return None
        return negotiation.address or negotiation.login.proven

    def describe(self) -> dict[str, Any]:
        """`info` with who it is, as far as that is known."""
        return {"kind": "xmpp", "address": self._who(), **self.info()}

    def _who(self) -> str:
        if self._session is not None:
            return self._session.jid.full
        address = self._negotiation.address if self._negotiation is not None else None
        return str(address) if address is not None else ""

    # --- the end ------------------------------------------------------------------------------------------

    def shut_down(self) -> None:
        """The server stops: what was received is still worked through, nothing more is read."""
        if not self._end:
            self._pause_reading()
            self._backlog.append(StreamFailed(StreamError("system-shutdown")))
            self._start_work()

    def _finish(self, error: StreamError | None, reason: str) -> None:
        """Say goodbye, wait a moment for the client to do so, close. The session learns of it from the
        worker."""
        if self._end:
            return
        if error is not None:
            self._listener.metrics.count("xmpp_stream_errors_total", condition=error.condition)
        if self._negotiation is not None and not self._negotiation.header_sent:
            self._say_header(self._negotiation.header())
        self._say_end(error)
        self._end = self._end or reason
        self._start_work()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(self._listener.realm.settings.close_timeout, self.abort)
        self._leave(reason)

    def _overflow(self) -> None:
        """The client does not read: whatever waits for it goes back to where it came from."""
        log.info("xmpp_client_too_slow", jid=self._who(), peer=self.peer, waiting=self.pending())
        self._listener.metrics.count("xmpp_stream_errors_total", condition="resource-constraint")
        self._end = "resource-constraint"
        self._broken = True
        self._out = []
        self._backlog.clear()
        self._start_work()
        self.abort()
