"""XML from outside, and text in XML of our own."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, ParseError, XMLParser

from presence.address import Address
from sip.addressing import to_address
from sip.errors import ProtocolError
from sip.uri import parse_uri

_ENCODING = re.compile(rb"""<\?xml[^>]{0,100}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
_ENCODINGS = frozenset(("utf-8", "us-ascii", "iso-8859-1", "iso-8859-15", "windows-1252", "utf-16"))
_NOT_PLAIN = re.compile(r"""[&<>"\r\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]""")
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;"}


def parse_xml(body: bytes, what: str = "PIDF") -> Element:
    """The root of a document from outside. `what` it is, for the refusal: `ProtocolError` 400."""
    text = _decode(body, what)
    # Without a document type there are no entities to expand and nothing to fetch.
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ProtocolError(400, f"Bad {what}: document type declarations are not allowed")
    parser = XMLParser()
    try:
        parser.feed(text)
        return parser.close()
    except ParseError:
        raise ProtocolError(400, f"Bad {what}: not well-formed") from None


def _decode(body: bytes, what: str) -> str:
    encoding = "utf-8"
    if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif (declared := _ENCODING.search(body[:200])) is not None:
        encoding = declared.group(1).decode().lower()
    if encoding not in _ENCODINGS:
        raise ProtocolError(400, f"Bad {what}: unknown encoding")
    try:
        return body.decode(encoding).removeprefix("\ufeff").lstrip()
    except UnicodeError:
        raise ProtocolError(400, f"Bad {what}: not in its encoding") from None


def entity_of(text: str) -> Address | None:
    try:
        return to_address(parse_uri(text.strip()))
    except ProtocolError:
        return None


def escape(text: str) -> str:
    if _NOT_PLAIN.search(text) is None:
        return text
    # What XML 1.0 cannot say at all is left out.
    return _NOT_PLAIN.sub(lambda found: _ESCAPES.get(found.group(), ""), text)
