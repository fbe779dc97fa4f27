"""Typing notices (RFC 3994) ↔ chat states (XEP-0085), by RFC 7573 §6."""

from __future__ import annotations

from presence.messages import ChatState
from sip.bodies import Content, Heard, body
from sip.errors import ProtocolError
from sip.xml import parse_xml

CONTENT_TYPE = "application/im-iscomposing+xml"
_NS = "{urn:ietf:params:xml:ns:im-iscomposing}"
_REFRESH = 90
"Seconds after which a notice that is not repeated means nothing any more."


@body(CONTENT_TYPE)
def is_composing(content: Content) -> Heard:
    root = parse_xml(content.data, "isComposing")
    if root.tag != f"{_NS}isComposing":
        raise ProtocolError(400, "Bad isComposing: another element")
    active = (root.findtext(f"{_NS}state") or "").strip() == "active"
    # RFC 3994 §3.4: whatever is not active is idle.
    return Heard(chat_state=ChatState.COMPOSING if active else ChatState.ACTIVE)


def write_is_composing(state: ChatState) -> bytes:
    active = state is ChatState.COMPOSING
    refresh = f"<refresh>{_REFRESH}</refresh>" if active else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing">'
        f"<state>{'active' if active else 'idle'}</state><contenttype>text/plain</contenttype>{refresh}"
        "</isComposing>\n"
    ).encode()
