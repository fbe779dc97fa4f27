"""What a MESSAGE may carry: one file per format, with one registration; Accept follows from it."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import cache

import msgspec

from presence.discovery import load
from presence.files import SharedFile
from presence.messages import ChatState, Report
from sip.errors import ProtocolError
from sip.message import Request

_MAX_INFLATED = 65_536
"Bytes of a body after decompression."


class Content(msgspec.Struct, frozen=True):
    """A body as it came."""

    media: str
    "Type and subtype, in lower case."
    charset: str
    data: bytes
    wrapped: bool = False
    "It came inside another body."


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What a body says."""

    text: str = ""
    markup: str = ""
    "The text with its formatting, tidied by `presence.markup`; empty where it says no more."
    file: SharedFile | None = None
    "It shares this file; the text is where it is."
    chat_state: ChatState | None = None
    report: Report | None = None
    about: str = ""
    "Which message it reports on."
    id: str = ""
    "How the sender names the message, for reports on it."
    wants: tuple[Report, ...] = ()
    sent: str = ""
    "Date and time the sender wrote into it."


Format = Callable[[Content], Heard]
"Understands one format. Raises `ProtocolError` 400, 415."

_formats: dict[str, Format] = {}


def body(*media: str) -> Callable[[Format], Format]:
    """Register what understands some media types."""

    def add(understands: Format) -> Format:
        _formats.update(dict.fromkeys(media, understands))
        return understands

    return add


@cache
def formats() -> dict[str, Format]:
    """All of them, by media type."""
    load(__name__)
    return _formats


def accept() -> str:
    """For Accept: plain text first."""
    return ", ".join(sorted(formats(), key=lambda media: (media != "text/plain", media)))


def understand(content: Content) -> Heard:
    """Raises `ProtocolError`: 415 for what nobody here reads."""
    format_ = formats().get(content.media)
    if format_ is None:
        raise ProtocolError(415, headers=(("Accept", accept()),))
    return format_(content)


def heard_in(request: Request) -> Heard:
    """What a MESSAGE says. Raises `ProtocolError` 400, 415."""
    content_type = request.content_type
    encoding = request.headers.get("Content-Encoding")
    data = request.body if encoding is None else _decoded(request.body, encoding.strip().lower())
    if content_type is None:
        return understand(Content("text/plain", "utf-8", data))
    return understand(Content(content_type.value, content_type.charset, data))


def _decoded(data: bytes, encoding: str) -> bytes:
    """Raises `ProtocolError` 400, 413, 415."""
    if encoding not in ("", "identity", "deflate"):
        raise ProtocolError(415, headers=(("Accept-Encoding", "identity, deflate"),))
    return _inflate(data) if encoding == "deflate" else data


def _inflate(data: bytes) -> bytes:
    """What phones compress, up to a bound. Raises `ProtocolError` 400, 413."""
    inflater = zlib.decompressobj()
    try:
        inflated = inflater.decompress(data, _MAX_INFLATED)
    except zlib.error:
        raise ProtocolError(400, "Bad Content-Encoding") from None
    if not inflater.eof:
        raise ProtocolError(413 if inflater.unconsumed_tail else 400)
    return inflated
