"""XMPP over WebSocket (RFC 7395): one message is one element, and `<open/>` and `<close/>` stand for the
stream's tags."""

from __future__ import annotations

from xmpp.document import parse_document
from xmpp.effects import Opened
from xmpp.element import LANG, STREAM_NS
from xmpp.errors import StreamError
from xmpp.serialiser import escape_attribute
from xmpp.stream import Event, StanzaReceived, StreamClosed, StreamFailed, StreamOpened

NS = "urn:ietf:params:xml:ns:xmpp-framing"
SUBPROTOCOL = "xmpp"
CLOSE = f"<close xmlns='{NS}'/>"


class FramedStream:
    """The reading half of a framed stream; `reset` it where the client is to begin a new one (§3.7)."""

    __slots__ = ("_ended", "_opened", "max_depth", "max_stanza")

    def __init__(self, *, max_stanza: int, max_depth: int) -> None:
        self.max_stanza = max_stanza
        "Bytes of one message."
        self.max_depth = max_depth
        self._opened = False
        self._ended = False

    def reset(self) -> None:
        self._opened = False

    def receive(self, message: str) -> list[Event]:
        """The event a text message is; none after the end."""
        if self._ended:
            return []
        try:
            event = self._read(message)
        except StreamError as error:
            event = StreamFailed(error)
        self._ended = isinstance(event, (StreamClosed, StreamFailed))
        return [event]

    def _read(self, message: str) -> Event:
        try:
            data = message.encode()
        except UnicodeEncodeError:
            raise StreamError("unsupported-encoding", "not UTF-8") from None
        if len(data) > self.max_stanza:
            raise StreamError("policy-violation", f"a stanza may have {self.max_stanza} bytes")
        if not message.startswith("<"):  # §3.3.3; white space keeps nothing alive here, §3.8
            raise StreamError("bad-format", "a message begins with '<' (RFC 7395 §3.3.3)")
        element = parse_document(data, max_depth=self.max_depth)
        if element.ns == NS and element.name == "close":
            return StreamClosed()
        if element.ns == NS and element.name == "open":
            if self._opened:
                raise StreamError("bad-format", "the stream is open")
            self._opened = True
            get = element.get
            return StreamOpened(get("to"), get("from"), get("version"), get(LANG))
        if element.name in ("open", "close") or (element.ns, element.name) == (STREAM_NS, "stream"):
            raise StreamError("invalid-namespace", f"a stream begins with <open xmlns='{NS}'/>")  # §3.3.2
        if not self._opened:
            raise StreamError("bad-format", "a stream begins with <open/>")
        return StanzaReceived(element)


def write_open(header: Opened) -> str:
    """§3.4."""
    to = f" to='{escape_attribute(header.to)}'" if header.to else ""
    domain = escape_attribute(header.domain)
    return f"<open xmlns='{NS}' id='{header.id}' from='{domain}'{to} version='1.0' xml:lang='en'/>"


def write_close(see_other_uri: str = "") -> str:
    """§3.6; `see_other_uri`: where the client is to go instead (§3.6.1)."""
    if not see_other_uri:
        return CLOSE
    return f"<close xmlns='{NS}' see-other-uri='{escape_attribute(see_other_uri)}'/>"
