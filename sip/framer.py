"""Cuts a byte stream into messages (RFC 3261 §18.3, keep-alives of RFC 5626 §4.4.1).

Whole messages of up to 64 kB, lines of up to 8 kB. A stream whose next boundary is not known for certain ends
with a `FramingError`: guessing would let one sender's body pass as another's request.
"""

from __future__ import annotations

import re
from enum import Enum

from sip import grammar
from sip.errors import FramingError
from sip.parser import MAX_FIELDS, MAX_LINE, MAX_MESSAGE

_FOLD = re.compile(rb"\r\n[ \t]+")
_LENGTH_NAMES = frozenset((b"content-length", b"l"))


class Keepalive(Enum):
    PING = b"\r\n\r\n"
    "To be answered with a pong."
    PONG = b"\r\n"
    "The answer to our ping; nothing to do."


class StreamFramer:
    """One per connection. `receive_data` returns whole messages and keep-alives in their order."""

    __slots__ = ("_buffer", "_failed", "_head_end", "_needed", "_scanned")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        "Bytes already searched for the end of the head."
        self._head_end = -1
        self._needed = 0
        "Bytes of head and body together, once the head is complete."
        self._failed = False

    def receive_data(self, data: bytes) -> list[bytes | Keepalive]:
        """Raises `FramingError`, for good; its `complete` has the events that came before the error."""
        if self._failed:
            raise FramingError("the stream already lost its boundaries")
        self._buffer += data
        events: list[bytes | Keepalive] = []
        try:
            while self._next(events):
                pass
        except FramingError as error:
            self._failed = True
            self._buffer.clear()
            error.complete = tuple(events)
            raise
        return events

    @property
    def idle(self) -> bool:
        """True when no message has been begun."""
        return not self._buffer or not self._buffer[:4].strip(b"\r\n")

    def _next(self, events: list[bytes | Keepalive]) -> bool:
        """Take one event off the buffer; False when it needs more bytes."""
        buffer = self._buffer
        if self._head_end < 0:
            if buffer.startswith((b"\r", b"\n")):
                return self._blank(events)
            self._find_head()
        if self._head_end < 0 or len(buffer) < self._needed:
            return False
        events.append(bytes(buffer[: self._needed]))
        del buffer[: self._needed]
        self._head_end, self._scanned = -1, 0
        return True

    def _blank(self, events: list[bytes | Keepalive]) -> bool:
        buffer = self._buffer
        if buffer.startswith(b"\r\n\r\n"):
            del buffer[:4]
            events.append(Keepalive.PING)
            return True
        if not b"\r\n\r\n".startswith(buffer[:4]):
            if not buffer.startswith(b"\r\n"):
                raise FramingError("a lone CR or LF between messages")
            del buffer[:2]
            events.append(Keepalive.PONG)
            return True
        return False

    def _find_head(self) -> None:
        end = self._buffer.find(b"\r\n\r\n", max(self._scanned - 3, 0))
        self._scanned = len(self._buffer)
        if end < 0:
            if self._scanned > MAX_MESSAGE:
                raise FramingError("head too large", 513)
            return
        head = bytes(self._buffer[:end])
        self._head_end = end + 4
        try:
            self._needed = self._head_end + _content_length(head)
            if self._needed > MAX_MESSAGE:
                raise FramingError("message too large", 513)
        except FramingError as error:
            error.head = head
            raise


def _content_length(head: bytes) -> int:
    """Bytes of the body. Mandatory in a stream (RFC 3261 §18.3); without one there can be no body."""
    lines = _FOLD.sub(b" ", head).split(b"\r\n")
    if len(lines) > MAX_FIELDS + 1:
        raise FramingError("too many header fields")
    length: int | None = None
    for line in lines[1:]:
        if len(line) > MAX_LINE:
            raise FramingError("header field too long")
        name, _, value = line.partition(b":")
        if name.rstrip(b" \t").lower() not in _LENGTH_NAMES:
            continue
        try:
            number = grammar.parse_number(value.strip(b" \t").decode("ascii", "replace"))
        except grammar.Malformed as error:
            raise FramingError(f"Content-Length: {error}") from None
        if length is not None and number != length:
            raise FramingError("Content-Length contradicts itself")
        length = number
    return length or 0
