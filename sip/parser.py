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
from sip.headers import CSeq, NameAddr
from sip.message import Headers, Request, Response, first_via
from sip.names import CANONICAL, SPELLINGS, canonical
from sip.uri import Uri, parse_uri

MAX_MESSAGE = 65_536
"Bytes of head and body together."
MAX_LINE = 8_192
"Bytes of one header field, unfolded."
MAX_FIELDS = 256

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
_FINDING = (("Via", first_via), ("CSeq", CSeq.parse))
_COMMON = (*_FINDING, ("From", NameAddr.parse), ("To", NameAddr.parse))
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
    lines = text.split("\r\n")
    plain = _plain_fields(text, lines)
    if plain is not None:
        return lines[0], Headers.adopt(plain), ""
    if "\r\n " in text or "\r\n\t" in text:
        text = _FOLD.sub(" ", text)
        lines = text.split("\r\n")
    complaint = ""
    if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1 or _bare_nul(text):
        complaint = "control character in the head"
        lines = [_BREAKS.sub(" ", line) for line in lines]
    start = lines[0]
    fields, field_complaint = _fields(lines)
    return start, Headers.adopt(fields), complaint or field_complaint


def _plain_fields(text: str, lines: list[str]) -> dict[str, list[str]] | None:
    """Fields by canonical name, of a head in which each is written as most are, and stands once; None when a
    closer look is needed."""
    breaks = len(lines) - 1
    if (
        breaks > MAX_FIELDS
        or len(text) > MAX_LINE
        or text.count("\n") != breaks
        or text.count("\r") != breaks
    ):
        return None
    if ":  " in text or " \r\n" in text or "\t" in text or "\0" in text or text[-1:] == " ":
        return None
    fields = {name: [value] for name, _, value in [line.partition(": ") for line in lines[1:]]}
    # Without a value it is a line without a colon: one with a colon and nothing else ended with the blank.
    usual = len(fields) == breaks and CANONICAL.issuperset(fields) and [""] not in fields.values()
    return fields if usual else None


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
            complaint = complaint or ("header field too long" if colon and known else "malformed header line")
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
    if len(body) > MAX_MESSAGE:
        status = 513
    if status:
        raise _refused(request, status)
    if version.upper() != "SIP/2.0":
        raise _refused(request, 505)
    if complaint:
        raise _refused(request, 400, _phrase(complaint))
    try:
        request.uri = parse_uri(uri_text)
        if request.uri.headers:
            # RFC 3261 §19.1.1 table 1: not in a Request-URI.
            raise BadUri("header fields in the Request-URI")
        headers.require(_COMMON)
        if not request.call_id:
            raise BadHeader("Call-ID", "empty")
        if request.cseq.method != method:
            raise BadHeader("CSeq", "method differs from the request's")
        request.body = _body(headers, body)
    except (BadUri, BadHeader) as error:
        raise _refused(request, error.status, error.reason) from None
    if request.uri.scheme not in _SCHEMES:
        raise _refused(request, 416)
    return request


def _refused(request: Request, status: int, reason: str = "") -> BadMessage:
    return BadMessage(status, reason, request=request if _answerable(request) else None)


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


def _check_answer(response: Response) -> None:
    """By Via and CSeq its request is found; From and To are read by those few who want them."""
    response.headers.require(_FINDING)
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
