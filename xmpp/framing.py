"""What stands around a stream's elements, on the side of the server (RFC 6120 §4)."""

from __future__ import annotations

import re

from xmpp.effects import Opened
from xmpp.element import CLIENT_NS, STREAM_NS
from xmpp.errors import StreamError
from xmpp.serialiser import escape_attribute, serialise


def write_header(header: Opened) -> str:
    """RFC 6120 §4.7, with the content namespace that no stanza declares again."""
    to = f" to='{escape_attribute(header.to)}'" if header.to else ""
    return (
        f"<?xml version='1.0'?><stream:stream xmlns='{CLIENT_NS}' xmlns:stream='{STREAM_NS}'"
        f" id='{header.id}' from='{escape_attribute(header.domain)}'{to} version='1.0' xml:lang='en'>"
    )


def write_error(error: StreamError) -> str:
    """RFC 6120 §4.9."""
    inner = "".join(serialise(child, CLIENT_NS) for child in error.element().elements)
    return f"<stream:error>{inner}</stream:error>"


def write_end(error: StreamError | None) -> str:
    """RFC 6120 §4.4."""
    return f"{write_error(error) if error is not None else ''}</stream:stream>"


def standalone(data: bytes) -> bytes:
    """One of the stream's elements, as `Send` and `Outbound.send` have them, as it reads where no stream
    header has declared the namespaces (RFC 7395 §3.3.3, XEP-0124 §6)."""
    end = _NAME_END.search(data)
    name = data[1 : end.start()] if end is not None else b""
    if name in _STANZAS:
        declaration = _CONTENT
    elif name.startswith(b"stream:"):
        declaration = _STREAM
    else:  # what is no stanza has a namespace of its own
        return data
    return b"<" + name + declaration + data[1 + len(name) :]


_NAME_END = re.compile(rb"[ />]")
_STANZAS = frozenset({b"message", b"presence", b"iq"})
_CONTENT = f" xmlns='{CLIENT_NS}'".encode()
_STREAM = f" xmlns:stream='{STREAM_NS}'".encode()
