"""One XML stream as the server sees it (RFC 6120 §4, §11), without input or output.

`StreamCore` turns bytes into events and enforces what may be sent at all: the stream header's namespaces,
the XML that §11.1 forbids, and our limits on size, depth and number of elements. However the bytes are
cut, the events are the same.

Until `whole` is set, one call returns at most one top-level element and leaves what follows unparsed in
`trailing`: what comes behind `<starttls/>` or the end of authentication belongs to another stream.
"""

from __future__ import annotations

from xml.parsers import expat

import msgspec

from xmpp.element import CLIENT_NS, LANG, STREAM_NS, Element
from xmpp.errors import StreamError
from xmpp.reader import (
    LONG_NAME,
    MAX_NAMES,
    Exceeded,
    Restricted,
    bracket_attributes,
    merge_text,
    new_expat,
    split_name,
    weight,
)
from xmpp.serialiser import escape_attribute

_SPACE = b" \t\r\n"
_LESS_THAN = ord("<")
_RECYCLE = 131_072
"Bytes after which a parser is replaced: expat never forgets the names it has met."
MAX_ELEMENTS = 10_000
"Elements inside one stanza."
_MAX_PREFIXES = 8


class StreamOpened(msgspec.Struct, frozen=True):
    """The client's stream header (RFC 6120 §4.7), attributes as sent; empty when absent."""

    to: str
    from_: str
    version: str
    lang: str


class StanzaReceived(msgspec.Struct, frozen=True):
    """A complete top-level element, stanza or not."""

    element: Element


class StreamClosed(msgspec.Struct, frozen=True):
    """The client sent `</stream:stream>`."""


class StreamFailed(msgspec.Struct, frozen=True):
    """The client broke a rule: nothing more is read."""

    error: StreamError


Event = StreamOpened | StanzaReceived | StreamClosed | StreamFailed


class StreamCore:
    """The reading half of a stream; `reset` it after TLS and after SASL (RFC 6120 §4.3.3)."""

    __slots__ = (
        "_count",
        "_ended",
        "_events",
        "_fed",
        "_held",
        "_names",
        "_open",
        "_opened",
        "_parser",
        "_prefixes",
        "_ragged",
        "_start",
        "content_ns",
        "max_depth",
        "max_stanza",
        "whole",
    )

    def __init__(self, *, max_stanza: int, max_depth: int, content_ns: str = CLIENT_NS) -> None:
        self.content_ns = content_ns
        "Namespace of the stanzas (RFC 6120 §4.8.2)."
        self.max_stanza = max_stanza
        "Bytes of one top-level element, or of the header."
        self.max_depth = max_depth
        self.whole = False
        "Parse everything that was received at once."
        self._held = bytearray()
        self.reset()

    def reset(self) -> None:
        """Begin a new stream; what is in `trailing` belongs to it unless the caller cleared it."""
        self._parser: expat.XMLParserType | None = None
        self._prefixes: list[tuple[str, str]] = []
        self._opened = False
        self._ended = False
        self._events: list[Event] = []
        self._forget_stanza()
        self._fed = 0

    def _forget_stanza(self) -> None:
        self._open: list[Element] = []
        self._start = 0
        self._count = 0
        self._names = 0
        self._ragged = False

    @property
    def trailing(self) -> bytes:
        """Received but not parsed yet."""
        return bytes(self._held)

    def drop_trailing(self) -> None:
        self._held.clear()

    def park(self) -> bool:
        """Let memory go while the client is silent; whether there was some. The next bytes make a new
        parser."""
        if self._parser is None or not self._opened or self._open or self._held:
            return False
        self._parser = None
        self._events = []
        return True

    # --- bytes in, events out -------------------------------------------------------------------------

    def receive_data(self, data: bytes) -> list[Event]:
        """Events of these bytes and of what was left from earlier ones, in order. After `StreamClosed` and
        `StreamFailed` everything is ignored."""
        if self._ended:
            return []
        held = self._held
        if not held and data and not self._open and not data.strip(_SPACE):
            return []  # white space keep-alive (RFC 6120 §4.6.1)
        events: list[Event] = []
        self._events = events
        try:
            pending = self._fed - self._start if self._open else 0
            fits = len(data) + len(held) + pending <= self.max_stanza
            if self.whole and fits and (not held or b">" not in held):
                self._feed_whole(data)
            else:
                held += data
                self._feed_pieces()
        except Restricted as refused:
            self._fail(StreamError("restricted-xml", str(refused)))
        except Exceeded as refused:
            self._fail(StreamError("policy-violation", str(refused)))
        except StreamError as error:
            self._fail(error)
        return events

    def _fail(self, error: StreamError) -> None:
        if self._ended:  # junk behind </stream:stream>
            return
        self._events.append(StreamFailed(error))
        self._ended = True
        self._parser = None
        self._forget_stanza()
        self._held.clear()

    def _feed_whole(self, data: bytes) -> None:
        """All complete tags at once: nothing in here can be too large."""
        cut = data.rfind(b">") + 1
        if not cut:
            self._held += data
            return
        if self._held:
            piece = bytes(self._held) + data[:cut]
            self._held.clear()
        else:
            piece = data[:cut] if cut < len(data) else data
        if cut < len(data):
            self._held += data[cut:]
        self._parse(piece)
        if not self._open and self._fed > _RECYCLE:
            self._parser = None

    def _feed_pieces(self) -> None:
        """Tag by tag, with every limit checked before expat sees a byte beyond it."""
        held = self._held
        while held and not self._ended:
            if not self._open:
                _strip_space(held)
                if held and not self._opened and held[0] != _LESS_THAN:
                    raise _no_xml(bytes(held[:2]))
            cut = held.find(b">") + 1
            pending = self._fed - self._start if self._open else 0
            if (cut or len(held)) + pending > self.max_stanza:
                raise StreamError("policy-violation", f"a stanza may have {self.max_stanza} bytes")
            if not cut:
                return
            piece = bytes(held[:cut])
            del held[:cut]
            known = len(self._events)
            self._parse(piece)
            if not self._open:
                if self._fed > _RECYCLE:
                    self._parser = None
                if len(self._events) > known and not self.whole:
                    return

    def _parse(self, piece: bytes) -> None:
        parser = self._parser
        if parser is None:
            parser = self._new_parser()
        try:
            parser.Parse(piece, False)
        except expat.ExpatError as broken:
            raise parse_error(broken.code, piece, parser.ErrorByteIndex - self._fed) from None
        self._fed += len(piece)

    def _new_parser(self) -> expat.XMLParserType:
        self._fed = 0
        parser = self._parser = new_expat(self._on_start, self._on_end, self._on_text)
        parser.StartNamespaceDeclHandler = self._on_namespace
        if self._opened:  # take up the stream where a parser before this one left it
            declared = "".join(f" xmlns:{p}='{escape_attribute(uri)}'" for p, uri in self._prefixes)
            header = (
                f"<stream:stream xmlns='{self.content_ns}' xmlns:stream='{STREAM_NS}'{declared}>".encode()
            )
            prefixes, self._prefixes = self._prefixes, []
            self._opened = False
            parser.Parse(header, False)
            self._prefixes = prefixes
            self._events.pop()
            self._fed = len(header)
        else:
            parser.XmlDeclHandler = check_declaration
        return parser

    # --- expat's callbacks ----------------------------------------------------------------------------

    def _on_start(self, qualified: str, attrs: dict[str, str]) -> None:
        stack = self._open
        ns, name = split_name(qualified)
        given = attrs
        if attrs:
            attrs = bracket_attributes(attrs)
        if len(qualified) > LONG_NAME or attrs is not given:
            self._names += weight(qualified, given, attrs)
            if self._names > MAX_NAMES:
                raise Exceeded(f"the namespaces in a stanza may have {MAX_NAMES} characters")
        if not stack:
            if not self._opened:
                self._on_header(ns, name, attrs)
                return
            parser = self._parser
            assert parser is not None
            self._start = parser.CurrentByteIndex
            self._count = 0
            self._ragged = False
            stack.append(Element(name, ns, attrs))
            return
        if len(stack) >= self.max_depth:
            raise Exceeded(f"a stanza may have {self.max_depth} levels")
        self._count += 1
        if self._count > MAX_ELEMENTS:
            raise Exceeded(f"a stanza may have {MAX_ELEMENTS} elements")
        element = Element(name, ns, attrs)
        stack[-1].children.append(element)
        stack.append(element)

    def _on_end(self, _: str) -> None:
        stack = self._open
        if len(stack) > 1:
            stack.pop()
        elif stack:
            element = stack.pop()
            if self._ragged:
                merge_text(element)
            self._names = 0
            self._events.append(StanzaReceived(element))
        else:
            self._events.append(StreamClosed())
            self._ended = True

    def _on_text(self, data: str) -> None:
        stack = self._open
        if not stack:
            if data.strip(" \t\r\n"):
                raise StreamError("bad-format", "text between stanzas")
            return
        children = stack[-1].children
        if children and isinstance(children[-1], str):
            self._ragged = True  # the same text in two pieces; joined when the stanza is complete
        children.append(data)

    def _on_namespace(self, prefix: str | None, uri: str | None) -> None:
        if prefix is not None and uri == self.content_ns:
            raise StreamError("bad-namespace-prefix", f"{uri} takes no prefix (RFC 6120 §4.8.5)")
        if self._opened:
            return
        if uri == STREAM_NS and prefix not in (None, "stream"):
            raise StreamError("bad-namespace-prefix", "the stream namespace has the prefix 'stream'")
        if prefix not in (None, "stream"):
            if len(self._prefixes) >= _MAX_PREFIXES:
                raise StreamError("invalid-namespace", "too many namespaces in the stream header")
            self._prefixes.append((prefix or "", uri or ""))
        elif prefix is None and uri not in (self.content_ns, STREAM_NS):
            raise StreamError("invalid-namespace", f"the content namespace is {self.content_ns}")

    def _on_header(self, ns: str, name: str, attrs: dict[str, str]) -> None:
        if ns != STREAM_NS:
            raise StreamError("invalid-namespace", "the stream namespace is not the one of XMPP")
        if name != "stream":
            raise StreamError("bad-format", "a stream begins with <stream>")
        self._opened = True
        get = attrs.get
        self._events.append(StreamOpened(get("to", ""), get("from", ""), get("version", ""), get(LANG, "")))


def check_declaration(version: str, encoding: str | None, standalone: int) -> None:
    """expat's `XmlDeclHandler`."""
    if encoding is not None and encoding.lower() != "utf-8":
        raise StreamError("unsupported-encoding", "XMPP is UTF-8 (RFC 6120 §11.6)")
    if version != "1.0":
        raise StreamError("not-well-formed", "XML 1.0 is wanted")


def _no_xml(beginning: bytes) -> StreamError:
    """What does not even begin like a stream: UTF-16 with its mark, or another protocol."""
    if beginning[:1] in (b"\xff", b"\xfe", b"\xef", b"\0"):
        return StreamError("unsupported-encoding", "XMPP is UTF-8 without a byte order mark (RFC 6120 §11.6)")
    return StreamError("bad-format", "this is not XML")


def _strip_space(held: bytearray) -> None:
    """Remove white space before the next tag. (Before an XML declaration it is wrong, and harmless.)"""
    stripped = len(held) - len(held.lstrip(_SPACE))
    if stripped:
        del held[:stripped]


def parse_error(code: int, piece: bytes, at: int) -> StreamError:
    """What the client hears when expat gave up `at` bytes into `piece`."""
    text = expat.ErrorString(code) or ""
    if code in _ENTITY_ERRORS:
        return StreamError("restricted-xml", text)
    if code in _ENCODING_ERRORS:
        return StreamError("unsupported-encoding", text)
    if 0 <= at < len(piece):
        try:
            piece[at : at + 8].decode()
        except UnicodeDecodeError as undecodable:
            if undecodable.start == 0:
                return StreamError("unsupported-encoding", "not UTF-8")
    return StreamError("not-well-formed", text)


_CODES = expat.errors.codes
_ENTITY_ERRORS = {
    _CODES[expat.errors.XML_ERROR_UNDEFINED_ENTITY],
    _CODES[expat.errors.XML_ERROR_RECURSIVE_ENTITY_REF],
    _CODES[expat.errors.XML_ERROR_ASYNC_ENTITY],
}
_ENCODING_ERRORS = {
    _CODES[expat.errors.XML_ERROR_UNKNOWN_ENCODING],
    _CODES[expat.errors.XML_ERROR_INCORRECT_ENCODING],
}
