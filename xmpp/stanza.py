"""Elements and stanzas: values, writing and reading (RFC 6120 §8). The parts live in their own modules."""

from __future__ import annotations

from xmpp.element import CLIENT_NS, LANG, STANZAS_NS, STREAM_NS, XML_NS, E, Element
from xmpp.reader import parse_fragment
from xmpp.serialiser import escape_attribute, escape_text, serialise, serialise_children

__all__ = [
    "CLIENT_NS",
    "LANG",
    "STANZAS_NS",
    "STREAM_NS",
    "XML_NS",
    "E",
    "Element",
    "escape_attribute",
    "escape_text",
    "parse_fragment",
    "serialise",
    "serialise_children",
]
