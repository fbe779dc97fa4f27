"""message/cpim (RFC 3862): the envelope in which phones ask for reports (RFC 5438 §6) and send them.

From and To in it are not believed; who sent a message the digest has proven.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from presence.messages import Report
from sip.bodies import Content, Heard, body, understand
from sip.errors import ProtocolError
from sip.grammar import Malformed
from sip.headers import MediaType

CONTENT_TYPE = "message/cpim"
_IMDN = "urn:ietf:params:imdn"
_WANTS = {
    "positive-delivery": Report.DELIVERED,
    "negative-delivery": Report.FAILED,
    "display": Report.DISPLAYED,
}
_WRITTEN = {report: word for word, report in _WANTS.items()}
_MAX_HEADERS = 64


@body(CONTENT_TYPE)
def cpim(content: Content) -> Heard:
    if content.wrapped:
        raise ProtocolError(415, headers=(("Accept", "text/plain"),))
    head, inner_head, data = _split(content.data)
    prefixes = {"imdn"}
    found: dict[str, str] = {}
    for name, value in _fields(head):
        if name == "ns" and value.endswith(f"<{_IMDN}>"):
            prefixes.add(value.partition("<")[0].strip().lower())
        prefix, dot, rest = name.partition(".")
        found.setdefault(rest if dot and prefix in prefixes else name, value)
    inner = dict(_fields(inner_head))
    if inner.get("content-transfer-encoding", "binary").lower() not in ("7bit", "8bit", "binary"):
        raise ProtocolError(415, headers=(("Accept-Encoding", "identity"),))
    try:
        media = MediaType.parse(inner.get("content-type", "text/plain"))
    except Malformed:
        raise ProtocolError(400, "Bad CPIM: Content-type") from None
    heard = understand(Content(media.value.lower(), media.charset, data, wrapped=True))
    asked = found.get("disposition-notification", "").split(",")
    words = (word.partition(";")[0].strip().lower() for word in asked)
    # RFC 5438 §8: nobody is ever told what became of a report.
    wants = tuple(_WANTS[word] for word in words if word in _WANTS) if heard.text else ()
    return replace(
        heard, id=found.get("message-id", "")[:256], wants=wants, sent=found.get("datetime", "")[:40]
    )


def _split(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Message headers, headers of the content, and the content (RFC 3862 §2)."""
    data = data.lstrip(b"\r\n")
    parts = data.replace(b"\r\n", b"\n").split(b"\n\n", 2)
    if len(parts) != 3:
        raise ProtocolError(400, "Bad CPIM: a part is missing")
    # The content keeps its own line ends.
    separator = b"\r\n\r\n" if b"\r\n\r\n" in data else b"\n\n"
    pieces = data.split(separator, 2)
    return parts[0], parts[1], pieces[2] if len(pieces) == 3 else parts[2]


def _fields(head: bytes) -> Iterator[tuple[str, str]]:
    lines = head.decode("utf-8", "replace").split("\n")
    if len(lines) > _MAX_HEADERS:
        raise ProtocolError(400, "Bad CPIM: too many headers")
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            yield name.strip().lower(), value.strip()


def write_cpim(
    *,
    sender: str,
    recipient: str,
    sent: str,
    media: str,
    data: bytes,
    message_id: str = "",
    wants: Iterable[Report] = (),
) -> bytes:
    """`sender` and `recipient` are URIs, `sent` is a date and time, `media` a Content-Type."""
    lines = [f"From: <{sender}>", f"To: <{recipient}>", f"DateTime: {sent}"]
    if message_id:
        lines += ["NS: imdn <urn:ietf:params:imdn>", f"imdn.Message-ID: {_line(message_id)}"]
    asked = ", ".join(_WRITTEN[each] for each in wants)
    if asked:
        lines.append(f"imdn.Disposition-Notification: {asked}")
    head = "\r\n".join(lines)
    return f"{head}\r\n\r\nContent-Type: {media}\r\n\r\n".encode() + data


def _line(text: str) -> str:
    return "".join(c for c in text if c.isprintable())[:256]
