"""From bytes to a message (RFC 3261 §7, §18.3), with the refusals of §8.2 that concern syntax.

Only what every message needs is understood here: the start line, the shape of the header fields, Via, From,
To, Call-ID, CSeq and Content-Length. Everything else is parsed when somebody asks for it.

Lenient: empty lines before the message, folded lines, white space around colons, a missing Content-Length or
bytes beyond it (in a datagram), header text that is not UTF-8 (read as Latin-1), any spelling of names.
Strict: CR, LF and NUL inside the head, header fields in the Request-URI, a Content-Length that is negative,
too large or contradicts itself, two of a field that may stand once.
"""

from __future__ import annotations

import re

from sip import grammar
from sip.errors import BadHeader, BadMessage, BadUri
from sip.message import Headers, Request, Response
from sip.names import SPELLINGS, canonical
from sip.uri import Uri, parse_uri

MAX_MESSAGE = 65_536
"Bytes of head and body together."
MAX_LINE = 8_192
"Bytes of one header field, unfolded."
MAX_FIELDS = 256

_FIELD = re.compile(r"\r\n([^:\r\n]+):[ \t]*([^\r\n]*)")
_BLANK = (" ", "\t")
_FOLD = re.compile(r"\r\n[ \t]+")
_BREAKS = re.compile(r"[\r\n\0]")
_BARE_NUL = re.compile(r"(?<!\\)\x00")
_STATUS = re.compile(r"[1-6][0-9][0-9]")
_SCHEMES = frozenset(("sip", "sips", "tel", "im", "pres"))
"What a Request-URI may be; anything else is 416 (RFC 3261 §8.2.2.1)."
_ONCE = frozenset(
    (
        "Call-ID",
        "CSeq",
        "From",
        "To",
        "Max-Forwards",
        "Content-Type",
        "Expires",
        "Event",
        "Subscription-State",
    )
)
_NOWHERE = Uri("sip", host="invalid")


def parse_message(data: bytes) -> Request | Response:
    """One whole message, as it came in a datagram or out of the framer. Raises `BadMessage`."""
    head, end, body = data.lstrip(b"\r\n").partition(b"\r\n\r\n")
    start, headers, complaint = _head(head)
    if not end:
        complaint = "truncated"
    if start[:4].upper() == "SIP/":
        return _response(start, headers, body, complaint)
    return _request(start, headers, body, complaint)


def parse_head(head: bytes) -> Request | None:
    """What it takes to refuse a message of which only the head is known; None if nobody can be answered."""
    start, headers, _ = _head(head.lstrip(b"\r\n"))
    request = Request(_request_line(start)[0], _NOWHERE, headers)
    return request if start[:4].upper() != "SIP/" and _answerable(request) else None


def _head(head: bytes) -> tuple[str, Headers, str]:
    """Start line, header fields, and the first complaint about them."""
    try:
        text = head.decode()
    except UnicodeDecodeError:
        text = head.decode("latin-1")
    if "\r\n " in text or "\r\n\t" in text:
        text = _FOLD.sub(" ", text)
    breaks = text.count("\r\n")
    if text.count("\n") == text.count("\r") == breaks and breaks <= MAX_FIELDS and len(text) <= MAX_LINE:
        fields = _plain_fields(text, breaks)
        if fields is not None:
            return text[: text.find("\r\n")], Headers.adopt(fields), ""
    lines = text.split("\r\n")
    complaint = ""
    if text.count("\n") != breaks or text.count("\r") != breaks or _bare_nul(text):
        complaint = "control character in the head"
        lines = [_BREAKS.sub(" ", line) for line in lines]
    start = lines[0]
    fields, field_complaint = _fields(lines)
    return start, Headers.adopt(fields), complaint or field_complaint


def _plain_fields(text: str, breaks: int) -> dict[str, list[str]] | None:
    """Fields by canonical name, of a head in which nothing is odd; None when a closer look is needed."""
    found = _FIELD.findall(text)
    if len(found) != breaks or "\0" in text:
        return None
    fields: dict[str, list[str]] = {}
    spelling = SPELLINGS.get
    for name, value in found:
        known = spelling(name)
        if known is None or value[-1:] in _BLANK:
            return None
        if known not in fields:
            fields[known] = [value]
        elif known in _ONCE:
            return None
        else:
            fields[known].append(value)
    return fields


def _fields(lines: list[str]) -> tuple[dict[str, list[str]], str]:
    """Fields by canonical name, and the first complaint about them; what can be read is read all the same."""
    fields: dict[str, list[str]] = {}
    complaint = ""
    if len(lines) > MAX_FIELDS + 1:
        complaint = "too many header fields"
        del lines[MAX_FIELDS + 1 :]
    spelling = SPELLINGS.get
    del lines[0]
    for line in lines:
        name, colon, value = line.partition(":")
        known = spelling(name) or _unusual(name)
        if not colon or not known or len(line) > MAX_LINE:
            complaint = complaint or ("header field too long" if known else "malformed header line")
        elif known not in fields:
            fields[known] = [value.strip(" \t")]
        elif known in _ONCE:
            complaint = complaint or f"{known} stands twice"
        else:
            fields[known].append(value.strip(" \t"))
    return fields, complaint


def _bare_nul(text: str) -> bool:
    """Whether there is a NUL that is no quoted pair (RFC 3261 §25.1)."""
    return "\0" in text and _BARE_NUL.search(text) is not None


def _unusual(name: str) -> str:
    """Canonical name of a field nobody knows or that was written oddly; empty if it is no name at all."""
    name = name.rstrip(" \t")
    return canonical(name) if grammar.is_token(name) else ""


def _request(start: str, headers: Headers, body: bytes, complaint: str) -> Request:
    method, uri_text, version, status = _request_line(start)
    request = Request(method, _NOWHERE, headers)
    answerable = request if _answerable(request) else None
    if len(body) > MAX_MESSAGE:
        status = 513
    if status:
        raise BadMessage(status, request=answerable)
    if version.upper() != "SIP/2.0":
        raise BadMessage(505, request=answerable)
    if complaint:
        raise BadMessage(400, _phrase(complaint), request=answerable)
    try:
        request.uri = parse_uri(uri_text)
        if request.uri.headers:
            # RFC 3261 §19.1.1 table 1: not in a Request-URI.
            raise BadUri("header fields in the Request-URI")
        _check_common(request)
        if request.cseq.method != method:
            raise BadHeader("CSeq", "method differs from the request's")
        request.body = _body(headers, body)
    except (BadUri, BadHeader) as error:
        raise BadMessage(error.status, error.reason, request=answerable) from None
    if request.uri.scheme not in _SCHEMES:
        raise BadMessage(416, request=answerable)
    return request


def _request_line(start: str) -> tuple[str, str, str, int]:
    """Method, Request-URI, version, and the status that refuses the line (0: none)."""
    parts = start.split(" ")
    if len(parts) == 3 and grammar.is_token(parts[0]) and parts[1]:
        return parts[0], parts[1], parts[2], 0
    method = parts[0] if grammar.is_token(parts[0]) else "INVALID"
    return method, "", "", 400


def _response(start: str, headers: Headers, body: bytes, complaint: str) -> Response:
    version, _, rest = start.partition(" ")
    status, _, reason = rest.partition(" ")
    if version.upper() != "SIP/2.0" or _STATUS.fullmatch(status) is None:
        raise BadMessage(400, "malformed status line")
    if complaint:
        raise BadMessage(400, _phrase(complaint))
    response = Response(int(status), reason, headers, body)
    try:
        _check_answer(response)
        response.body = _body(headers, body)
    except (BadUri, BadHeader) as error:
        raise BadMessage(400, error.reason) from None
    return response


def _check_common(message: Request | Response) -> None:
    _ = message.via, message.from_, message.to, message.cseq
    if not message.call_id:
        raise BadHeader("Call-ID", "empty")


def _check_answer(response: Response) -> None:
    """By Via and CSeq its request is found; From and To are read by those few who want them."""
    _ = response.via, response.cseq
    for name in ("From", "To", "Call-ID"):
        if not response.headers.get(name):
            raise BadHeader(name, "missing")


def _body(headers: Headers, body: bytes) -> bytes:
    length = content_length(headers)
    if length is None:
        return body
    if length > len(body):
        raise BadHeader("Content-Length", "larger than the message")
    return body[:length]


def content_length(headers: Headers) -> int | None:
    """Bytes of the body; None when not said. Raises `BadHeader`; repeats must agree."""
    values = headers.fields("Content-Length")
    if len(values) == 1 and len(values[0]) < 10 and values[0].isascii() and values[0].isdigit():
        return int(values[0])
    length = headers.parsed("Content-Length", grammar.parse_number)
    for value in values[1:]:
        if not grammar.DIGITS.fullmatch(value) or int(value) != length:
            raise BadHeader("Content-Length", "contradicts itself")
    return length


def _answerable(request: Request) -> bool:
    """RFC 3261 §8.2.6 needs a Via to answer to; an ACK is never answered."""
    return request.method != "ACK" and bool(request.headers.get("Via"))


def _phrase(complaint: str) -> str:
    return f"Bad Request: {complaint}"
