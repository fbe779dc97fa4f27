"""One client's connection: an asyncio protocol that drives a `StreamCore`, a `Negotiation`, then a
`BoundSession`.

Events are worked through strictly in order by at most one task, which lives only while there is something
to do. Until a resource is bound, an event is parsed only when the one before it has been answered; bytes
that come meanwhile wait. Output is gathered and written once per turn of the loop.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING, Any, assert_never, cast

import structlog

from xmpp.edge.tls import TlsLayer
from xmpp.effects import Bound, Close, Effect, LoggedIn, LoginFailed, NewStream, Send, StartTls
from xmpp.errors import StreamError
from xmpp.host import BoundSession
from xmpp.negotiation import Negotiation, check_from
from xmpp.serialiser import serialise
from xmpp.stream import Event, StanzaReceived, StreamClosed, StreamCore, StreamFailed

if TYPE_CHECKING:
    from xmpp.edge.listener import Listener

log = structlog.get_logger()

_BACKLOG = 128
"Events that may wait for the session before reading pauses."
_CLIENT_HELLO = 0x16
"First byte of a TLS handshake record (RFC 8446 §5.1); no XML begins with it."
_TURN = 32
"Events worked through before others get their turn."


class Connection(asyncio.Protocol):
    """Implements `xmpp.host.Outbound`."""

    __slots__ = (
        "_backlog",
        "_broken",
        "_core",
        "_corked",
        "_direct",
        "_early",
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
        "_timer",
        "_tls",
        "_transport",
        "_untouched",
        "_worker",
        "_writable",
        "heard",
        "peer",
    )

    def __init__(self, listener: Listener, *, direct: bool) -> None:
        self._listener = listener
        self._loop = listener.loop
        self._direct = direct
        settings = listener.realm.settings
        self._core = StreamCore(max_stanza=settings.max_stanza_before_login, max_depth=settings.max_depth)
        self._negotiation: Negotiation | None = None
        self._session: BoundSession | None = None
        self._transport: asyncio.Transport | None = None
        self._tls: TlsLayer | None = None
        self._worker: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._backlog: list[Event] = []
        self._early = b""
        "Bytes that came while the negotiation was busy."
        self._out: list[bytes] = []
        self._out_size = 0
        self._corked = False
        self._held_back = False
        "Output waits for the answer to resource binding."
        self._writable = True
        self._reading = True
        self._end = ""
        "Why the stream is over; empty while it is not."
        self._gone = False
        "The client is: nothing more will come."
        self._broken = False
        "Nothing can be written any more."
        self._mechanism = ""
        self._untouched = True
        "No byte has come yet."
        self._since = 0.0
        self.heard = 0.0
        "Loop time of the last bytes from the client."
        self.peer = ""

    # --- the transport's callbacks ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it
        self._transport = transport
        self._since = self.heard = self._loop.time()
        address = transport.get_extra_info("peername") or ("", 0)
        self.peer = str(address[0]).removeprefix("::ffff:")
        if not self._listener.admit(self):
            self._broken = True
            self._end = "refused"
            transport.abort()
            return
        _watch_socket(transport, self._listener.realm.settings.lost_timeout)
        transport.set_write_buffer_limits(high=0)  # tell us as soon as the kernel has taken everything
        local = self.peer in ("127.0.0.1", "::1")
        may_be_clear = self._listener.realm.settings.allow_plaintext and local
        self._negotiation = Negotiation(self._listener.realm, self, may_be_clear=may_be_clear)
        self._timer = self._loop.call_later(self._listener.realm.settings.login_timeout, self._too_slow)
        if self._direct:
            self._tls = TlsLayer(self._listener.identity.context)

    def data_received(self, data: bytes) -> None:
        self.heard = self._loop.time()
        if self._untouched:
            self._untouched = False
            if data[0] == _CLIENT_HELLO and self._tls is None:  # some clients try TLS at once on any port
                self._tls = TlsLayer(self._listener.identity.context)
        tls = self._tls
        if tls is not None:
            established = tls.established
            try:
                data = tls.receive(data)
            except ssl.SSLError as error:
                self._tls_failed(tls, error)
                return
            if not established:
                self._write_raw(tls.take())
                if not tls.established:
                    return
                if self._negotiation is not None:
                    self._negotiation.secured(self._listener.identity.bindings)
            if tls.closed:
                self._feed(data)
                self._lost()
                return
        if data:
            self._feed(data)

    def eof_received(self) -> None:
        """The transport closes itself after this."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._broken = True
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._lost()
        self._listener.forget(self, self._worker)

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._flush()

    # --- in ---------------------------------------------------------------------------------------------

    def _feed(self, data: bytes) -> None:
        if self._end:
            if b"</stream:stream>" in data and self._transport is not None:
                self._transport.close()  # both sides have said goodbye (RFC 6120 §4.4)
            return
        if self._session is None and self._worker is not None:
            self._early += data
            self._pause_reading()
            return
        events = self._core.receive_data(data)
        if not events:
            return
        self._backlog.extend(events)
        if self._worker is None:
            self._start_work()
        elif len(self._backlog) > _BACKLOG:
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
                await session.receive(check_from(event.element, session.jid))
            else:
                self._over(event)
            turn += 1
            if turn % _TURN == 0:
                if len(backlog) <= _BACKLOG:
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
        more = bool(self._early or self._core.trailing.strip())
        self._held_back = True  # what a session says before `bind` has returned goes behind our answer
        try:
            effects = await negotiation.receive(event, more=more)
        finally:
            self._held_back = False
        for effect in effects:
            self._perform(effect)
        if self._broken or self._end:
            self._early = b""
            return
        early, self._early = self._early, b""
        self._backlog.extend(self._core.receive_data(early))

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Send(text):
                self.send(text.encode())
            case StartTls(proceed):
                self._start_tls(proceed)
            case NewStream():
                self._core.reset()
            case LoggedIn(address, mechanism):
                self._mechanism = mechanism
                self._listener.logged_in(self)
                self._listener.metrics.count("xmpp_logins_total", mechanism=mechanism, outcome="success")
                log.info("xmpp_logged_in", address=str(address), mechanism=mechanism, peer=self.peer)
            case LoginFailed(who, mechanism, condition, why):
                self._listener.metrics.count("xmpp_logins_total", mechanism=mechanism, outcome=condition)
                log.info("xmpp_login_failed", address=who, condition=condition, why=why, peer=self.peer)
            case Bound(session, answer):
                self._bound(session, answer)
            case Close(error):
                self._finish(error, error.condition if error is not None else "closed")
            case _:
                assert_never(effect)

    def _start_tls(self, proceed: str) -> None:
        if self._early:  # sent in the clear behind <starttls/>, before our answer
            self._finish(StreamError("policy-violation", "data behind starttls"), "policy-violation")
            return
        self.send(proceed.encode())
        self._flush()
        self._core.drop_trailing()
        self._core.reset()
        self._tls = TlsLayer(self._listener.identity.context)

    def _bound(self, session: BoundSession, answer: str) -> None:
        data = answer.encode()
        self._session = session
        if self._end:  # too late; the worker will tell the session
            return
        self._negotiation = None
        self._core.max_stanza = self._listener.realm.settings.max_stanza
        self._core.whole = True
        self._out.insert(0, data)
        self._out_size += len(data)
        self._flush()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- out: `Outbound` --------------------------------------------------------------------------------

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

    def _flush(self, *, last: bool = False) -> None:
        """Write what is gathered, unless the kernel is full; tell the session when it has taken
        everything."""
        if self._broken or ((self._held_back or not self._writable) and not last):
            return
        if self._out:
            data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
            self._out = []
            self._out_size = 0
            if self._tls is not None:
                try:
                    data = self._tls.send(data)
                except ssl.SSLError as error:
                    self._tls_failed(self._tls, error)
                    return
            self._write_raw(data)
        if self._writable and self._session is not None and not self._end:
            self._session.flushed()

    def _write_raw(self, data: bytes) -> None:
        if data and self._transport is not None and not self._broken:
            self._transport.write(data)

    def pending(self) -> int:
        waiting = self._transport.get_write_buffer_size() if self._transport is not None else 0
        return self._out_size + waiting

    def close(self, error: StreamError | None) -> None:
        self._backlog.clear()
        self._finish(error, error.condition if error is not None else "closed")

    def info(self) -> dict[str, Any]:
        now = self._loop.time()
        return {
            "peer": self.peer,
            "tls": self._tls.describe() if self._tls is not None else "",
            "mechanism": self._mechanism,
            "seconds": round(now - self._since, 1),
            "silent": round(now - self.heard, 1),
            "pending": self.pending(),
            "paused": not self._reading,
        }

    @property
    def bound(self) -> bool:
        return self._session is not None

    def describe(self) -> dict[str, Any]:
        """`info` with who it is, as far as that is known."""
        return {"kind": "xmpp", "address": self._who(), **self.info()}

    # --- the end ----------------------------------------------------------------------------------------

    def shut_down(self) -> None:
        """The server stops: what was received is still worked through, nothing more is read."""
        if not self._end:
            self._pause_reading()
            self._backlog.append(StreamFailed(StreamError("system-shutdown")))
            self._start_work()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def park(self) -> None:
        """Nothing was heard for a while: give memory back."""
        if self._worker is None:
            self._core.park()

    def _finish(self, error: StreamError | None, reason: str) -> None:
        """Say goodbye, wait a moment for the client to do so, close. The session learns of it from the
        worker."""
        if self._end:
            return
        if error is not None:
            self._listener.metrics.count("xmpp_stream_errors_total", condition=error.condition)
        header = ""
        if self._negotiation is not None and not self._negotiation.header_sent:
            header = self._negotiation.header()
        said = f"<stream:error>{_inner(error)}</stream:error>" if error is not None else ""
        self.send(f"{header}{said}</stream:stream>".encode())
        self._end = self._end or reason
        self._start_work()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(self._listener.realm.settings.close_timeout, self.abort)
        if self._tls is not None and not self._tls.established:
            self.abort()
            return
        self._flush(last=True)
        if self._tls is not None:
            self._write_raw(self._tls.close())
        if self._transport is None or self._broken:
            return
        if reason == "closed":
            self._transport.close()
        else:  # closing now, with data unread, would reset the connection before the error has arrived
            self._resume_reading()
            self._transport.write_eof()

    def _lost(self) -> None:
        """The client went without a word. What it had sent is still worked through."""
        self._gone = True
        if not self._end:
            self._start_work()
        if self._transport is not None:
            self._transport.close()

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

    def _too_slow(self) -> None:
        self._timer = None
        self._finish(StreamError("connection-timeout", "log in sooner"), "connection-timeout")

    def _tls_failed(self, tls: TlsLayer, error: ssl.SSLError) -> None:
        self._listener.metrics.count("xmpp_tls_failures_total")
        log.info("xmpp_tls_failed", peer=self.peer, reason=error.reason or str(error))
        self._write_raw(tls.take())  # the alert
        self._broken = True
        if not self._end:
            self._end = "lost"
            self._start_work()
        if self._transport is not None:
            self._transport.close()

    def _who(self) -> str:
        if self._session is not None:
            return self._session.jid.full
        address = self._negotiation.address if self._negotiation is not None else None
        return str(address) if address is not None else ""

    def _pause_reading(self) -> None:
        if self._reading and self._transport is not None:
            self._reading = False
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if not self._reading and self._transport is not None and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()


def _inner(error: StreamError) -> str:
    return "".join(serialise(child, "jabber:client") for child in error.element().elements)


def _watch_socket(transport: asyncio.Transport, lost_timeout: float) -> None:
    """Let the kernel find out about peers that vanished."""
    sock = transport.get_extra_info("socket")
    if sock is None:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(lost_timeout * 1000))
