"""One client's TCP connection: an asyncio protocol with TLS and XML around a `ClientStream`.

Until a resource is bound, an event is parsed only when the one before it has been answered; bytes that come
meanwhile wait.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, cast

import structlog

from xmpp.edge.clientstream import ClientStream
from xmpp.edge.tls import TlsLayer
from xmpp.effects import Opened
from xmpp.errors import StreamError
from xmpp.framing import write_end, write_header
from xmpp.stream import StreamCore

if TYPE_CHECKING:
    from xmpp.edge.listener import Listener

log = structlog.get_logger()

_CLIENT_HELLO = 0x16
"First byte of a TLS handshake record (RFC 8446 §5.1); no XML begins with it."


class Connection(ClientStream, asyncio.Protocol):
    """A stream as RFC 6120 puts it on TCP."""

    __slots__ = ("_core", "_direct", "_early", "_identity", "_tls", "_transport", "_untouched", "_writable")

    def __init__(self, listener: Listener, *, direct: bool) -> None:
        super().__init__(listener)
        self._direct = direct
        self._identity = listener.identity
        "As it was when the client came."
        settings = listener.realm.settings
        self._core = StreamCore(max_stanza=settings.max_stanza_before_login, max_depth=settings.max_depth)
        self._transport: asyncio.Transport | None = None
        self._tls: TlsLayer | None = None
        self._early = b""
        "Bytes that came while the negotiation was busy."
        self._writable = True
        self._untouched = True
        "No byte has come yet."

    # --- the transport's callbacks ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it
        self._transport = transport
        self._since = self.heard = self._loop.time()
        address = transport.get_extra_info("peername") or ("", 0)
        self.peer = str(address[0]).removeprefix("::ffff:")
        settings = self._listener.realm.settings
        local = self.peer in ("127.0.0.1", "::1")
        if not self._begin(may_be_clear=settings.allow_plaintext and local):
            transport.abort()
            return
        transport.set_write_buffer_limits(high=0)  # tell us as soon as the kernel has taken everything
        if self._direct:
            self._tls = TlsLayer(self._identity.context)

    def data_received(self, data: bytes) -> None:
        self.heard = self._loop.time()
        self._spent(len(data))
        if self._untouched:
            self._untouched = False
            if data[0] == _CLIENT_HELLO and self._tls is None:  # some clients try TLS at once on any port
                self._tls = TlsLayer(self._identity.context)
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
                    self._negotiation.secured(self._identity.shown(tls.context).bindings)
            if tls.closed:
                self._feed(data)
                self._lost()
                return
        if data:
            self._feed(data)

    def eof_received(self) -> None:
        """The transport closes itself after this, when the client has taken what was said."""
        self._wait_no_longer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._disconnected()

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
        self._take(self._core.receive_data(data))

    def _more_waits(self) -> bool:
        return bool(self._early or self._core.trailing.strip())

    def _negotiated(self) -> None:
        early, self._early = self._early, b""
        if not (self._broken or self._end):
            self._backlog.extend(self._core.receive_data(early))

    def _new_stream(self) -> None:
        self._core.reset()

    def _start_tls(self, proceed: str) -> None:
        if self._early:  # sent in the clear behind <starttls/>, before our answer
            self._finish(StreamError("policy-violation", "data behind starttls"), "policy-violation")
            return
        self.send(proceed.encode())
        self._flush()
        self._core.drop_trailing()
        self._core.reset()
        domain = self._negotiation.domain if self._negotiation is not None else ""
        self._tls = TlsLayer(self._identity.of(domain).context)

    def _whole(self) -> None:
        self._core.max_stanza = self._listener.realm.settings.max_stanza
        self._core.whole = True

    def _pause_reading(self) -> None:
        if self._reading and self._transport is not None:
            self._reading = False
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        transport = self._transport
        if self._reading or self._throttled is not None or transport is None or transport.is_closing():
            return
        self._reading = True
        transport.resume_reading()

    # --- out --------------------------------------------------------------------------------------------

    def _say_header(self, header: Opened) -> None:
        self.send(write_header(header).encode())

    def _say_end(self, error: StreamError | None) -> None:
        self.send(write_end(error).encode())

    def _flush(self, *, last: bool = False) -> None:
        """Write what is gathered, unless the kernel is full; tell the session when it has taken
        everything."""
        if self._broken or ((self._held_back or not self._writable) and not last):
            return
        data = b""
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
        if last and self._tls is not None:
            data += self._tls.close()
        self._write_raw(data)
        if self._writable and self._session is not None and not self._end:
            self._session.flushed()

    def _write_raw(self, data: bytes) -> None:
        if data and self._transport is not None and not self._broken:
            self._transport.write(data)

    def pending(self) -> int:
        waiting = self._transport.get_write_buffer_size() if self._transport is not None else 0
        return self._out_size + waiting

    def _security(self) -> str:
        return self._tls.describe() if self._tls is not None else ""

    # --- the end ----------------------------------------------------------------------------------------

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def park(self) -> bool:
        return self._worker is None and self._core.park()

    def _leave(self, reason: str) -> None:
        if self._tls is not None and not self._tls.established:
            self.abort()
            return
        self._flush(last=True)
        if self._transport is None or self._broken:
            return
        if reason == "closed":
            self._transport.close()
        else:  # closing now, with data unread, would reset the connection before the error has arrived
            self._resume_reading()
            self._transport.write_eof()

    def _lost(self) -> None:
        super()._lost()
        self._let_go()

    def _let_go(self) -> None:
        """Nothing more will come: close when the client has taken what was said, or soon."""
        if self._transport is not None:
            self._transport.close()
            self._wait_no_longer()

    def _wait_no_longer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(self._listener.realm.settings.close_timeout, self.abort)

    def _tls_failed(self, tls: TlsLayer, error: ssl.SSLError) -> None:
        self._listener.metrics.count("xmpp_tls_failures_total")
        log.info("xmpp_tls_failed", peer=self.peer, reason=error.reason or str(error))
        self._write_raw(tls.take())  # the alert
        self._broken = True
        if not self._end:
            self._end = "lost"
            self._start_work()
        self._let_go()
