"""A small honest SIP phone for tests: REGISTER, PUBLISH, SUBSCRIBE, MESSAGE over UDP, TCP, TLS, WebSocket.

It keeps the client's side of RFC 3261 §17.1.2 (retransmission), §17.2.2 (a repeated request gets the same
answer again and counts once) and §12 (route set, remote target, CSeq); nothing more.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import ssl
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from tests.support.inbox import PATIENCE, Inbox
from tests.support.sipwire import Framer, SipMessage, address, credentials, parameter, parse
from tests.support.trust import trusting

T1 = 0.5
"RFC 3261 §17.1.1.1."

Answer = tuple[int, str] | None
"Status and reason a phone gives to a request; None: it stays silent."


class SilentServer(AssertionError):
    """No final response came: RFC 3261's timer F, or a dead connection."""


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, receive: Callable[[SipMessage], None]) -> None:
        self.receive = receive

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        if data.strip():
            self.receive(parse(data))

    def error_received(self, exc: Exception) -> None:
        """A dead server's port: retransmission goes on."""


class _Stream(asyncio.Protocol):
    def __init__(self, receive: Callable[[SipMessage], None], lost: Callable[[], None]) -> None:
        self.receive = receive
        self.lost = lost
        self.framer = Framer()

    def data_received(self, data: bytes) -> None:
        for message in self.framer.feed(data):
            self.receive(message)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost()


class _WebSocket:
    """A WebSocket with the few methods of a transport that a phone needs."""

    def __init__(
        self, socket: ClientConnection, receive: Callable[[SipMessage], None], lost: Callable[[], None]
    ):
        self._socket = socket
        self._tasks = {asyncio.ensure_future(self._read(receive, lost))}

    async def _read(self, receive: Callable[[SipMessage], None], lost: Callable[[], None]) -> None:
        async for frame in self._socket:
            data = frame.encode() if isinstance(frame, str) else frame
            if data.strip():
                receive(parse(data))
        lost()

    def write(self, data: bytes) -> None:
        self._do(self._socket.send(data.decode()))

    def close(self) -> None:
        self._do(self._socket.close())

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(self._unless_gone(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _unless_gone(self, work: Coroutine[Any, Any, None]) -> None:
        with contextlib.suppress(WebSocketException):
            await work

    def get_extra_info(self, name: str) -> Any:
        return self._socket.transport.get_extra_info(name)


@dataclass(slots=True)
class Watch:
    """A subscription the phone holds, and the notifications in it."""

    phone: Phone
    resource: str
    call_id: str
    local: str
    "Our From, with tag."
    event: str
    cseq: int
    response: SipMessage
    remote: str = ""
    "Their From, with tag, once a response or NOTIFY told it."
    target: str = ""
    routes: tuple[str, ...] = ()
    notifies: Inbox[SipMessage] = field(default_factory=lambda: Inbox("the watching phone"))

    async def notified(
        self, what: str, fits: Callable[[SipMessage], bool] = lambda _: True, patience: float = PATIENCE
    ) -> SipMessage:
        return await self.notifies.take(what, fits, patience)

    async def state(self, state: str, patience: float = PATIENCE) -> SipMessage:
        """The next NOTIFY with that Subscription-State."""
        return await self.notified(
            f"a NOTIFY that says {state}", lambda n: n["Subscription-State"].startswith(state), patience
        )

    async def refresh(self, expires: int = 600) -> SipMessage:
        self.cseq += 1
        response, self.cseq = await self.phone.request_in_dialog(
            "SUBSCRIBE", self, [("Event", self.event), ("Expires", str(expires))]
        )
        return response

    async def end(self) -> SipMessage:
        return await self.refresh(expires=0)


class Phone:
    """One user agent with one transport to the server. Use as `async with Phone(...) as phone`."""

    def __init__(
        self,
        aor: str,
        password: str,
        server: tuple[str, int],
        transport: str = "udp",
        *,
        user: str = "",
        algorithms: Sequence[str] = ("SHA-256", "MD5"),
        qop: bool = True,
    ) -> None:
        self.aor = aor
        "user@domain"
        self.user = user or aor.partition("@")[0]
        self.password = password
        self.server = server
        self.transport = transport
        self.algorithms = algorithms
        self.qop = qop
        self.domain = aor.partition("@")[2]
        self.requests: Inbox[SipMessage] = Inbox(f"{aor}'s phone")
        "Every request received, once per transaction, NOTIFYs of a subscription excepted."
        self.answers: dict[str, Answer] = {}
        "Method → what this phone answers; 200 OK for the rest, 481 for a NOTIFY of no subscription."
        self.retransmitted = 0
        "Requests that came again."
        self.connected = False
        self._pending: dict[str, asyncio.Future[SipMessage]] = {}
        self._answered: dict[tuple[str, str], bytes | None] = {}
        self._watches: dict[str, Watch] = {}
        self._registration = secrets.token_hex(8)
        self._register_cseq = 0
        self._wire: Any = None

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        host, port = self.server
        if self.transport == "udp":
            self._wire, _ = await loop.create_datagram_endpoint(
                lambda: _Datagrams(self._receive), remote_addr=(host, port)
            )
        elif self.transport == "ws":
            at = f"[{host}]" if ":" in host else host
            socket = await connect(f"ws://{at}:{port}/sip", subprotocols=[Subprotocol("sip")], proxy=None)
            self._wire = _WebSocket(socket, self._receive, self._lost)
        else:
            context = self.tls() if self.transport == "tls" else None
            self._wire, _ = await loop.create_connection(
                lambda: _Stream(self._receive, self._lost),
                host,
                port,
                ssl=context,
                server_hostname=self.domain if context else None,
            )
        self.connected = True

    def tls(self) -> ssl.SSLContext:
        return trusting()

    def close(self) -> None:
        """Go away without a word, as a phone whose plug is pulled."""
        self.connected = False
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def _lost(self) -> None:
        self.connected = False
        for future in self._pending.values():
            if not future.done():
                future.set_exception(SilentServer(f"{self.aor}'s connection was closed"))

    @property
    def local(self) -> tuple[str, int]:
        """Own host and port as written in SIP (IPv6 in brackets)."""
        assert self._wire is not None, "the phone is not connected"
        host, port = self._wire.get_extra_info("sockname")[:2]
        if self.transport == "ws":
            # A browser does not know its own address (RFC 7118 §8).
            return f"p{port}.invalid", 5060
        return (f"[{host}]" if ":" in host else host), port

    @property
    def contact(self) -> str:
        host, port = self.local
        return f"<sip:{self.user}@{host}:{port};transport={self.transport}>"

    # --- what a user does ---

    async def register(self, expires: int = 600, *, contact: str = "", **extra: str) -> SipMessage:
        headers = [("Contact", contact or self.contact), ("Expires", str(expires)), *_headers(extra)]
        self._register_cseq += 1
        response, self._register_cseq = await self._with_credentials(
            "REGISTER",
            f"sip:{self.domain}",
            headers,
            to=f"<sip:{self.aor}>",
            call_id=self._registration,
            cseq=self._register_cseq,
        )
        return response

    async def unregister(self) -> SipMessage:
        return await self.register(expires=0)

    async def publish(
        self, body: str = "", *, expires: int = 600, etag: str = "", resource: str = "", **extra: str
    ) -> SipMessage:
        uri = f"sip:{resource or self.aor}"
        headers = [("Event", "presence"), ("Expires", str(expires))]
        if etag:
            headers.append(("SIP-If-Match", etag))
        if body:
            headers.append(("Content-Type", "application/pidf+xml"))
        return await self.request("PUBLISH", uri, [*headers, *_headers(extra)], body.encode())

    async def message(
        self,
        to: str,
        text: str | bytes,
        *,
        content_type: str = "text/plain;charset=utf-8",
        patience: float = 32.0,
        **extra: str,
    ) -> SipMessage:
        body = text.encode() if isinstance(text, str) else text
        return await self.request(
            "MESSAGE",
            f"sip:{to}",
            [("Content-Type", content_type), *_headers(extra)],
            body,
            patience=patience,
        )

    async def subscribe(
        self,
        to: str,
        *,
        expires: int = 600,
        event: str = "presence",
        contact: str = "",
        body: bytes = b"",
        **extra: str,
    ) -> Watch:
        """SUBSCRIBE; `Watch.response` tells how it went, its NOTIFYs may come before it."""
        call_id = secrets.token_hex(8)
        local = f"<sip:{self.aor}>;tag={secrets.token_hex(4)}"
        watch = Watch(self, to, call_id, local, event, 1, SipMessage("SIP/2.0 0 none"))
        self._watches[call_id] = watch
        headers = [
            ("Event", event),
            ("Expires", str(expires)),
            *(
                []
                if "Accept" in extra and event == "presence" and body
                else [("Accept", "application/pidf+xml")]
            ),
            ("Contact", contact or self.contact),
            *_headers(extra),
        ]
        watch.response, watch.cseq = await self._with_credentials(
            "SUBSCRIBE", f"sip:{to}", headers, body, from_=local, to=f"<sip:{to}>", call_id=call_id, cseq=1
        )
        if watch.response.status < 300:
            watch.remote = watch.response["To"]
            watch.target = address(watch.response["Contact"])
            watch.routes = tuple(reversed(watch.response.all("Record-Route")))
        return watch

    async def received(
        self,
        method: str,
        what: str = "",
        fits: Callable[[SipMessage], bool] = lambda _: True,
        patience: float = PATIENCE,
    ) -> SipMessage:
        """The next request of that method that fits."""
        return await self.requests.take(
            what or f"a {method}", lambda r: r.method == method and fits(r), patience=patience
        )

    async def hears(self, text: str, patience: float = PATIENCE) -> SipMessage:
        """The MESSAGE with exactly that text."""
        return await self.received(
            "MESSAGE", f"a MESSAGE saying {text[:60]!r}", lambda m: m.body == text.encode(), patience
        )

    # --- requests ---

    async def request(
        self,
        method: str,
        uri: str,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        from_: str = "",
        to: str = "",
        authenticate: bool = True,
        patience: float = 32.0,
    ) -> SipMessage:
        """One request outside dialogs; answers a challenge once unless `authenticate` is false."""
        response, _ = await self._with_credentials(
            method, uri, headers, body, from_=from_, to=to, authenticate=authenticate, patience=patience
        )
        return response

    async def request_in_dialog(
        self, method: str, watch: Watch, headers: Sequence[tuple[str, str]], body: bytes = b""
    ) -> tuple[SipMessage, int]:
        """Response and the CSeq it took."""
        routes = [("Route", route) for route in watch.routes]
        return await self._with_credentials(
            method,
            watch.target,
            [*routes, ("Contact", self.contact), *headers],
            body,
            from_=watch.local,
            to=watch.remote,
            call_id=watch.call_id,
            cseq=watch.cseq,
        )

    async def _with_credentials(
        self,
        method: str,
        uri: str,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        from_: str = "",
        to: str = "",
        call_id: str = "",
        cseq: int = 1,
        authenticate: bool = True,
        patience: float = 32.0,
    ) -> tuple[SipMessage, int]:
        from_ = from_ or f"<sip:{self.aor}>;tag={secrets.token_hex(4)}"
        call_id = call_id or secrets.token_hex(8)

        def build(number: int, more: Sequence[tuple[str, str]] = ()) -> SipMessage:
            host, port = self.local
            via = f"SIP/2.0/{self.transport.upper()} {host}:{port};rport;branch=z9hG4bK{secrets.token_hex(8)}"
            fixed = [
                ("Via", via),
                ("Max-Forwards", "70"),
                ("From", from_),
                ("To", to or f"<{uri}>"),
                ("Call-ID", call_id),
                ("CSeq", f"{number} {method}"),
            ]
            return SipMessage(f"{method} {uri} SIP/2.0", [*fixed, *headers, *more], body)

        response = await self.send(build(cseq), patience)
        if not authenticate or response.status not in (401, 407):
            return response, cseq
        asked, answer = (
            ("WWW-Authenticate", "Authorization")
            if response.status == 401
            else ("Proxy-Authenticate", "Proxy-Authorization")
        )
        proof = credentials(
            response.all(asked),
            method=method,
            uri=uri,
            user=self.user,
            password=self.password,
            algorithms=self.algorithms,
            qop=self.qop,
        )
        return await self.send(build(cseq + 1, [(answer, proof)]), patience), cseq + 1

    async def send(self, request: SipMessage, patience: float = 32.0) -> SipMessage:
        """Send as it is; the final response. Over UDP it is retransmitted until then (timer E)."""
        future: asyncio.Future[SipMessage] = asyncio.get_running_loop().create_future()
        self._pending[request.branch] = future
        data, interval = request.encode(), T1
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        try:
            while True:
                self.send_bytes(data)
                rest = deadline - loop.time()
                wait = min(interval, rest) if self.transport == "udp" else rest
                done, _ = await asyncio.wait([future], timeout=max(wait, 0))
                if done:
                    return future.result()
                if loop.time() >= deadline:
                    raise SilentServer(f"no answer within {patience:g} s to\n{request}")
                interval = min(interval * 2, 4.0)
        finally:
            del self._pending[request.branch]

    def send_bytes(self, data: bytes) -> None:
        """Anything, also nonsense."""
        if self._wire is None or not self.connected:
            raise SilentServer(f"{self.aor}'s phone is not connected")
        self._wire.sendto(data) if self.transport == "udp" else self._wire.write(data)

    # --- what arrives ---

    def _receive(self, message: SipMessage) -> None:
        if message.is_response:
            future = self._pending.get(message.branch)
            if future is not None and message.status >= 200 and not future.done():
                future.set_result(message)
            return
        key = (message.branch, message.method)
        if key in self._answered:
            self.retransmitted += 1
            stored = self._answered[key]
            if stored is not None:
                self.send_bytes(stored)
            return
        watch = self._watches.get(message["Call-ID"]) if message.method == "NOTIFY" else None
        default: Answer = (
            (481, "No Such Subscription") if message.method == "NOTIFY" and not watch else (200, "OK")
        )
        answer = self.answers.get(message.method, default)
        data = None if answer is None else _response(message, *answer).encode()
        self._answered[key] = data
        if data is not None:
            self.send_bytes(data)
        if watch is None:
            self.requests.put(message)
        else:
            watch.remote = watch.remote or message["From"]
            watch.target = watch.target or address(message["Contact"])
            watch.notifies.put(message)


def _headers(extra: dict[str, str]) -> list[tuple[str, str]]:
    """`Content_Language="de"` as a header."""
    return [(name.replace("_", "-"), value) for name, value in extra.items()]


def _response(request: SipMessage, status: int, reason: str) -> SipMessage:
    to = request["To"]
    if not parameter(to, "tag"):
        to += f";tag={secrets.token_hex(4)}"
    copied = [("Via", via) for via in request.all("Via")]
    copied += [
        ("From", request["From"]),
        ("To", to),
        ("Call-ID", request["Call-ID"]),
        ("CSeq", request["CSeq"]),
    ]
    copied += [("Record-Route", route) for route in request.all("Record-Route")]
    return SipMessage(f"SIP/2.0 {status} {reason}", copied)
