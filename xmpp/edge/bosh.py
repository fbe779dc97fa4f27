"""BOSH (XEP-0124, XEP-0206) on the HTTP server: streams that live longer than their requests."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from xmpp.bosh import (
    Answer,
    BindingError,
    BoshEffect,
    BoshSession,
    Confirmed,
    Ended,
    Received,
    Terms,
    peek_sid,
    read_body,
    write_refusal,
)
from xmpp.edge.clientstream import ClientStream
from xmpp.edge.neighbours import Gone, Neighbours, Said
from xmpp.edge.visitor import Visitor, visitor
from xmpp.effects import Opened
from xmpp.element import Element
from xmpp.errors import StreamError
from xmpp.framing import write_error
from xmpp.settings import XmppSettings
from xmpp.web import BOSH_PATH

if TYPE_CHECKING:
    from xmpp.edge.listener import Listener

CONTENT_TYPE = "text/xml; charset=utf-8"
CONTENT_TYPES = ("text/xml", "application/xml", "text/plain")
"What a client may ask for (§7.1). Not HTML: what others said would run as a page of ours."
ROOM = 4096
"Bytes of a request beside one stanza."
SLOWEST = 30.0
"Seconds a request's body may take."

Reply = asyncio.Future[tuple[bytes, int]]
"What an HTTP request is answered with, and its status."


class BoshStream(ClientStream):
    """A stream in the bodies of HTTP requests and their answers."""

    __slots__ = (
        "_coming",
        "_core",
        "_deadline",
        "_error",
        "_forget",
        "_left",
        "_may_read",
        "_visitor",
        "content_type",
    )

    def __init__(
        self,
        listener: Listener,
        visitor: Visitor,
        core: BoshSession,
        content_type: str,
        forget: Callable[[str], object],
    ) -> None:
        super().__init__(listener)
        self._core = core
        self._visitor = visitor
        self._forget = forget
        self.peer = visitor.peer
        self.content_type = content_type
        self._deadline: asyncio.TimerHandle | None = None
        self._error: bytes | None = None
        self._left = False
        self._coming = 0
        "Requests that are being read, or wait to be taken."
        self._may_read = asyncio.Event()
        self._may_read.set()

    def start(self) -> bool:
        """Begin the stream; False when there are too many."""
        clear = self._listener.realm.settings.allow_plaintext and self._visitor.local
        if not self._begin(may_be_clear=clear, upgradable=False):
            return False
        if self._visitor.secure and self._negotiation is not None:
            self._negotiation.secured({})
        self._take([self._core.first])
        return True

    # --- requests -----------------------------------------------------------------------------------------

    @property
    def max_body(self) -> int:
        settings = self._listener.realm.settings
        return ROOM + (settings.max_stanza if self.bound else settings.max_stanza_before_login)

    @contextmanager
    def coming(self) -> Iterator[None]:
        """A request of this session is being read. Raises `BindingError` when there are too many (§11): each
        that is allowed may come a second time, over another connection."""
        if self._coming >= 2 * (self._core.terms.requests + 1):
            raise BindingError("policy-violation")
        self._coming += 1
        try:
            yield
        finally:
            self._coming -= 1

    async def receive(self, data: bytes, reply: Reply) -> None:
        """The body of a request. Raises `BindingError`."""
        element = read_body(data, max_depth=self._listener.realm.settings.max_depth)
        await self._may_read.wait()
        self.heard = self._loop.time()
        self._spent(len(data))
        self._perform_all(self._core.receive(element, reply, self._loop.time()))

    def disconnected(self, reply: Reply) -> None:
        self._perform_all(self._core.disconnected(reply, self._loop.time()))

    def _perform_all(self, effects: Iterable[BoshEffect]) -> None:
        for effect in effects:
            match effect:
                case Answer(ticket, data, status):
                    assert isinstance(ticket, asyncio.Future)
                    if not ticket.done():
                        ticket.set_result((data, status))
                case Received(events):
                    if not self._end:
                        self._take(events)
                case Confirmed():
                    if self._session is not None and not self._end:
                        self._session.flushed()
                case Ended(reason):
                    self._over_with(reason)
                case _:
                    assert_never(effect)
        if self._core.over and self._end:
            self.abort()
        self._arm()

    def _over_with(self, reason: str) -> None:
        if not self._end and reason != "lost":
            self._end = reason
            self._start_work()
        self.abort()

    def _arm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        at = self._core.next_deadline()
        if not self._left and at < float("inf"):
            self._deadline = self._loop.call_at(at, self._time_is_up)

    def _time_is_up(self) -> None:
        self._deadline = None
        self._perform_all(self._core.handle_timeout(self._loop.time()))

    def _pause_reading(self) -> None:
        super()._pause_reading()
        self._may_read.clear()

    def _resume_reading(self) -> None:
        if self._throttled is None:
            super()._resume_reading()
            self._may_read.set()

    # --- answers ------------------------------------------------------------------------------------------

    def _say_header(self, header: Opened) -> None:
        self._core.opened(header)

    def _say_end(self, error: StreamError | None) -> None:
        self._error = write_error(error).encode() if error is not None else None

    def _flush(self, *, last: bool = False) -> None:
        if self._broken or (self._held_back and not last) or not self._out:
            return
        payloads, self._out, self._out_size = self._out, [], 0
        self._perform_all(self._core.send(payloads, self._loop.time()))
        if self.pending() > self._listener.max_outbound and not self._end:
            self._overflow()

    def pending(self) -> int:
        return self._out_size + self._core.pending()

    def _security(self) -> str:
        return self._visitor.security

    # --- the end ------------------------------------------------------------------------------------------

    def _leave(self, reason: str) -> None:
        self._resume_reading()
        payloads, self._out, self._out_size = self._out, [], 0
        self._perform_all(self._core.finish(payloads, self._error, self._loop.time()))

    def abort(self) -> None:
        if self._left:
            return
        self._left = True
        self._arm()
        self._may_read.set()
        self._forget(self._core.sid)
        self._disconnected()


class Bosh:
    """All BOSH sessions of this process."""

    def __init__(
        self,
        settings: XmppSettings,
        listener: Callable[[], Listener | None],
        sockets: Path | None = None,
        node: str = "",
    ) -> None:
        """`sockets`: directory where the processes of this host find each other; None when there is one."""
        web = settings.web
        self._settings = settings
        self._terms = Terms(web.bosh_wait, web.bosh_hold, web.bosh_inactivity, web.bosh_pause)
        self._listener = listener
        self._streams: dict[str, BoshStream] = {}
        self._node = node
        self.neighbours = Neighbours(sockets, node, self._known) if sockets is not None else None

    async def answer(self, request: Request, headers: Mapping[str, str]) -> Response:
        """One POST (§5). `headers`: for every answer."""

        async def gone() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass

        try:
            said = await self._said(_Body(request), visitor(request), gone)
        except BindingError as error:
            said = Said(write_refusal(error.condition), 200, CONTENT_TYPE)
        return _response(said.data, said.status, said.content_type, headers)

    async def _said(self, body: _Body, who: Visitor, gone: Gone) -> Said:
        """Whose session it is decides how much is read, and nothing is parsed for nobody's."""
        sid = await body.sid()
        if not sid:
            data = await body.read(self._settings.max_stanza_before_login)
            return await self._begun(read_body(data, max_depth=self._settings.max_depth), who, gone)
        neighbours = self.neighbours
        node = neighbours.owner(sid) if neighbours is not None else ""
        if neighbours is not None and node:
            said = await neighbours.ask(node, await body.read(self._settings.max_stanza + ROOM), gone)
            if said is None:
                raise BindingError("item-not-found")
            return said
        stream = self._stream(sid)
        with stream.coming():
            reply = await self._received(stream, await body.read(stream.max_body))
        return await _replied(stream, reply, gone)

    async def _known(self, data: bytes, gone: Gone) -> Said:
        """A request that another process was given, and whose session is ours."""
        try:
            stream = self._stream(peek_sid(data[:ROOM]) or "")
            if len(data) > stream.max_body:
                raise BindingError("policy-violation")
            with stream.coming():
                reply = await self._received(stream, data)
        except BindingError as error:
            return Said(write_refusal(error.condition), 200, CONTENT_TYPE)
        return await _replied(stream, reply, gone)

    async def _begun(self, element: Element, who: Visitor, gone: Gone) -> Said:
        reply: Reply = asyncio.get_running_loop().create_future()
        stream = self._create(element, who, reply)
        if isinstance(stream, bytes):
            return Said(stream, 200, CONTENT_TYPE)
        return await _replied(stream, reply, gone)

    async def _received(self, stream: BoshStream, data: bytes) -> Reply:
        reply: Reply = asyncio.get_running_loop().create_future()
        await stream.receive(data, reply)
        return reply

    def _stream(self, sid: str) -> BoshStream:
        """Raises `BindingError`."""
        stream = self._streams.get(sid)
        if stream is None:
            raise BindingError("item-not-found")
        return stream

    def _create(self, element: Element, who: Visitor, reply: Reply) -> BoshStream | bytes:
        """A new session, or why there is none."""
        listener, web = self._listener(), self._settings.web
        if web.see_other_uri:
            return write_refusal("see-other-uri", web.see_other_uri)
        may_be_clear = self._settings.allow_plaintext and who.local
        if not (who.secure or may_be_clear) and web.public_url.startswith("https:"):
            return write_refusal("see-other-uri", web.public_url + BOSH_PATH)
        if listener is None:
            return write_refusal("system-shutdown")
        sid = f"{self._node}.{secrets.token_urlsafe(24)}"
        try:
            core = BoshSession(sid, element, reply, self._terms, listener.loop.time())
        except BindingError as error:
            return write_refusal(error.condition)
        stream = BoshStream(listener, who, core, _content_type(element), self._streams.pop)
        self._streams[sid] = stream
        if not stream.start():
            del self._streams[sid]
            return write_refusal("policy-violation")
        return stream


class _Body:
    """A request's body, read as far as somebody wants it."""

    def __init__(self, request: Request) -> None:
        self._chunks = request.stream()
        self._data = b""
        self._until = asyncio.get_running_loop().time() + SLOWEST

    async def _more(self) -> bool:
        """Raises `BindingError`."""
        try:
            async with asyncio.timeout_at(self._until):
                chunk = await anext(self._chunks, None)
        except (TimeoutError, ClientDisconnect):
            raise BindingError("bad-request") from None
        self._data += chunk or b""
        return chunk is not None

    async def sid(self) -> str:
        """The session its beginning names, unproven; empty for none. Raises `BindingError`."""
        while (found := peek_sid(self._data[:ROOM])) is None:
            if len(self._data) >= ROOM or not await self._more():
                raise BindingError("bad-request")
        return found

    async def read(self, most: int) -> bytes:
        """All of it. Raises `BindingError`."""
        while len(self._data) <= most:
            if not await self._more():
                return self._data
        raise BindingError("policy-violation")


async def _replied(stream: BoshStream, reply: Reply, gone: Gone) -> Said:
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(_watch(stream, reply, gone))
        data, status = await reply
        watching.cancel()
    return Said(data, status, stream.content_type)


async def _watch(stream: BoshStream, reply: Reply, gone: Gone) -> None:
    """Wait for the client to go away without an answer."""
    await gone()
    stream.disconnected(reply)
    if not reply.done():
        reply.set_result((b"", 200))


def _content_type(element: Element) -> str:
    wanted = element.get("content")
    known = wanted.partition(";")[0].strip().lower() in CONTENT_TYPES
    return wanted if known and wanted.isascii() and wanted.isprintable() else CONTENT_TYPE


def _response(data: bytes, status: int, content_type: str, headers: Mapping[str, str]) -> Response:
    fixed = {"Content-Type": content_type, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
    return Response(data, status, {**fixed, **headers})
