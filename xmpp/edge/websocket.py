"""XMPP over WebSocket (RFC 7395): the server's end of one connection. Frames and pings are uvicorn's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.websockets import WebSocket, WebSocketDisconnect

from xmpp.edge.clientstream import ClientStream
from xmpp.effects import Opened
from xmpp.errors import StreamError
from xmpp.framing import standalone, write_error
from xmpp.stream import Event, StreamClosed, StreamFailed
from xmpp.websocket import FramedStream, write_close, write_open

if TYPE_CHECKING:
    from xmpp.edge.listener import Listener
    from xmpp.edge.visitor import Visitor

TRY_AGAIN_LATER = 1013
"A WebSocket's close code (IANA's registry)."


class WebSocketStream(ClientStream):
    """A stream whose elements are messages of a WebSocket that was accepted."""

    __slots__ = (
        "_aborted",
        "_framed",
        "_readable",
        "_said_close",
        "_unsent",
        "_visitor",
        "_wake",
        "_websocket",
    )

    def __init__(self, listener: Listener, websocket: WebSocket, visitor: Visitor) -> None:
        super().__init__(listener)
        settings = listener.realm.settings
        self._websocket = websocket
        self._visitor = visitor
        self.peer = visitor.peer
        self._framed = FramedStream(max_stanza=settings.max_stanza_before_login, max_depth=settings.max_depth)
        self._wake = asyncio.Event()
        self._readable = asyncio.Event()
        self._readable.set()
        self._aborted = asyncio.Event()
        self._unsent = 0
        "Bytes in the writer's hands."
        self._said_close = False
        "The client has said goodbye as well."

    async def run(self) -> None:
        """Serve until the connection is over."""
        settings = self._listener.realm.settings
        clear = settings.allow_plaintext and self._visitor.local
        if not self._begin(may_be_clear=clear, upgradable=False):
            await self._websocket.close(TRY_AGAIN_LATER, "too many connections")
            return
        if self._visitor.secure and self._negotiation is not None:
            self._negotiation.secured({})  # whose certificate the client saw, a proxy's or ours, is not known
        if settings.web.see_other_uri:
            self._finish(None, "see-other-uri")
        try:
            async with asyncio.TaskGroup() as group:
                parts = [
                    group.create_task(part) for part in (self._read(), self._write(), self._until_aborted())
                ]
                await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
                for part in parts:
                    part.cancel()
        finally:
            self._disconnected()

    async def _until_aborted(self) -> None:
        await self._aborted.wait()

    # --- in ---------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] != "websocket.receive":
                return
            self.heard = self._loop.time()
            text = message.get("text")
            self._spent(len(text or ""))
            if text is None:  # §3.2
                events: list[Event] = [StreamFailed(StreamError("bad-format", "text messages are wanted"))]
            else:
                events = self._framed.receive(text)
            if self._end:
                if any(isinstance(event, StreamClosed) for event in events):
                    self._said_close = True
                    self._wake.set()
                continue
            if self._session is None:
                self._pause_reading()  # the next one may belong to another stream: it waits for our answer
            self._take(events)
            await self._readable.wait()

    def _pause_reading(self) -> None:
        super()._pause_reading()
        self._readable.clear()

    def _resume_reading(self) -> None:
        if self._throttled is None:
            super()._resume_reading()
            self._readable.set()

    def _new_stream(self) -> None:
        self._framed.reset()

    def _whole(self) -> None:
        self._framed.max_stanza = self._listener.realm.settings.max_stanza

    # --- out --------------------------------------------------------------------------------------------

    def _say_header(self, header: Opened) -> None:
        self.send(write_open(header).encode())

    def _say_end(self, error: StreamError | None) -> None:
        if error is not None:
            self.send(write_error(error).encode())
        elsewhere = self._listener.realm.settings.web.see_other_uri
        self.send(write_close(elsewhere).encode())

    def _flush(self, *, last: bool = False) -> None:
        if not self._broken and (last or not self._held_back):
            self._wake.set()

    async def _write(self) -> None:
        """Send what is gathered, one element a message; at the end, close."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._out and not self._broken and (self._end or not self._held_back):
                    batch, self._out = self._out, []
                    self._unsent, self._out_size = self._out_size, 0
                    for data in batch:
                        await self._websocket.send_text(standalone(data).decode())
                        self._unsent -= len(data)
                if self._session is not None and not self._end:
                    self._session.flushed()
                if self._end == "closed" or self._said_close:
                    await self._websocket.close()
                    return
        except (WebSocketDisconnect, RuntimeError):  # starlette's word for a connection that is over
            self._broken = True

    def pending(self) -> int:
        return self._out_size + self._unsent

    def _security(self) -> str:
        return self._visitor.security

    # --- the end ----------------------------------------------------------------------------------------

    def _leave(self, reason: str) -> None:
        self._resume_reading()
        self._flush(last=True)

    def abort(self) -> None:
        self._aborted.set()
