"""SIP over TCP and TLS: one connection, cut into messages; written once per turn of the loop."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from sip.edge.sockets import plain_host
from sip.errors import FramingError
from sip.flow import Flow
from sip.framer import Keepalive, StreamFramer

if TYPE_CHECKING:
    from sip.edge.listener import Listener

_IN_FLIGHT = 64
"Requests of one connection that may wait for their answer before reading pauses."
_LONGEST_HOLD = 5.0
"Seconds without reading, however much came."
_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


class Connection(asyncio.Protocol):
    def __init__(
        self,
        listener: Listener,
        transport_name: str,
        *,
        outgoing: bool = False,
        ready: Callable[[], None] = lambda: None,
    ) -> None:
        """`outgoing`: we have opened it; its own port is none that anybody reaches us on. `ready` is called
        when what precedes the connection is over."""
        self._ready = ready
        self._listener = listener
        self._name = transport_name
        self.outgoing = outgoing
        self._framer = StreamFramer()
        self._out: list[bytes] = []
        self._in_flight = 0
        self._paused = False
        "Too many requests are being worked on."
        self._held: asyncio.TimerHandle | None = None
        "Too much has come."
        self._transport: asyncio.Transport | None = None
        self.flow: Flow | None = None
        self.local = ""
        "Host of our end."
        self.port = 0
        self.heard = 0.0
        "Loop time of the last bytes."
        self.begun = 0.0
        self.since = 0.0
        self.names: frozenset[str] = frozenset()
        "Of the peer, by its verified certificate (RFC 5922 §7.1)."

    # --- asyncio --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ready()
        peer, own = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        if not peer or not own:
            self._transport.abort()
            return
        self.local, self.port = plain_host(str(own[0])), int(own[1])
        self.heard = self._listener.loop.time()
        self.names = certified_names(transport.get_extra_info("peercert"))
        flow = self._listener.admit(self, self._name, plain_host(str(peer[0])), int(peer[1]))
        if flow is None:
            self._transport.abort()
            return
        self.flow = flow
        _keep_alive(transport.get_extra_info("socket"), self._listener.lost_timeout)

    def data_received(self, data: bytes) -> None:
        if self.flow is None:
            return
        self.heard = self._listener.loop.time()
        try:
            events = self._framer.receive_data(data)
        except FramingError as error:
            self._take(list(error.complete))
            self._listener.unframed(self, error)
            self.close()
            return
        if self._framer.idle:
            self.begun = 0.0
        elif events or not self.begun:
            self.begun = self.heard
        self._take(events)
        if events and self.flow is not None:
            self._hold(self._listener.pace(self.flow, len(events)))

    def _take(self, events: list[bytes | Keepalive]) -> None:
        for event in events:
            if self.flow is None:
                return
            if isinstance(event, bytes):
                self._listener.received(event, self.flow)
            elif event is Keepalive.PING:
                self.send(Keepalive.PONG.value)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._held is not None:
            self._held.cancel()
        if self.flow is not None:
            flow, self.flow = self.flow, None
            self._listener.left(self, flow)

    # --- the way out ----------------------------------------------------------------------------

    def send(self, data: bytes) -> bool:
        """Queue one message. False when the connection is gone."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        if not self._out:
            self._listener.loop.call_soon(self._flush)
        self._out.append(data)
        return True

    def _flush(self) -> None:
        data, self._out = b"".join(self._out), []
        if self._transport is None or not data:
            return
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > self._listener.max_outbound:
            # It does not read. What was meant for it waits on the bus.
            self._transport.abort()

    def close(self) -> None:
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # --- back-pressure --------------------------------------------------------------------------

    def began(self) -> None:
        """A request of this connection is being worked on."""
        self._in_flight += 1
        if self._in_flight >= _IN_FLIGHT and not self._paused and self._transport is not None:
            self._paused = True
            if self._held is None:
                self._transport.pause_reading()

    def ended(self) -> None:
        self._in_flight -= 1
        if self._paused and self._in_flight < _IN_FLIGHT // 2:
            self._paused = False
            self._read_on()

    def _hold(self, seconds: float) -> None:
        if not seconds or self._held is not None or self._transport is None:
            return
        if not self._paused:
            self._transport.pause_reading()
        self._held = self._listener.loop.call_later(min(seconds, _LONGEST_HOLD), self._release)

    def _release(self) -> None:
        self._held = None
        self._read_on()

    def _read_on(self) -> None:
        transport = self._transport
        if transport is not None and not (self._paused or self._held or transport.is_closing()):
            transport.resume_reading()


def _keep_alive(sock: socket.socket | None, lost_timeout: float) -> None:
    """Notice a peer that vanished without a word."""
    if sock is None:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(lost_timeout * 1000))


def certified_names(certificate: Mapping[str, Any] | None) -> frozenset[str]:
    """SIP domains a certificate stands for (RFC 5922 §7.1): its sip URIs, or its DNS names where it has
    none."""
    alternatives: Iterable[tuple[str, str]] = (certificate or {}).get("subjectAltName", ())
    uris = {
        value[4:].lower() for kind, value in alternatives if kind == "URI" and value[:4].lower() == "sip:"
    }
    names = {value.lower() for kind, value in alternatives if kind == "DNS"}
    return frozenset(uris or names)


def client_context(certificate: str, key: str, authorities: str) -> ssl.SSLContext:
    """TLS towards peers: they prove who they are, and so do we. `authorities`: a file of certificates, the
    system's when empty. Raises `OSError`."""
    context = ssl.create_default_context(cafile=authorities or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context


def server_context(
    certificate: str, key: str, *, ask_peers: bool = False, authorities: str = ""
) -> ssl.SSLContext:
    """TLS as phones know it (RFC 3261 §26.3.1). `ask_peers`: whoever connects may show a certificate.
    Raises `OSError` (`ssl.SSLError` is one)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.load_cert_chain(certificate, key)
    if ask_peers:
        context.verify_mode = ssl.CERT_OPTIONAL
        if authorities:
            context.load_verify_locations(authorities)
        else:
            context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
    return context
