"""What travels about messages: chat states (XEP-0085), receipts (XEP-0184), markers (XEP-0333), how they
look (XEP-0071), and which files they share (XEP-0066).

Between XMPP clients they are carried untouched; this is for what comes from and goes to phones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from presence.messages import ChatState, InstantMessage, Report
from xmpp.element import Element
from xmpp.serialiser import escape_attribute, escape_text

CHAT_STATES_NS = "http://jabber.org/protocol/chatstates"
RECEIPTS_NS = "urn:xmpp:receipts"
XHTML_NS = "http://jabber.org/protocol/xhtml-im"
XHTML_BODY_NS = "http://www.w3.org/1999/xhtml"
MARKERS_NS = "urn:xmpp:chat-markers:0"
OOB_NS = "jabber:x:oob"

_STATES = {state.value: state for state in ChatState}
_REPORTS = {
    (RECEIPTS_NS, "received"): Report.DELIVERED,
    (MARKERS_NS, "received"): Report.DELIVERED,
    (MARKERS_NS, "displayed"): Report.DISPLAYED,
}
_WANTS = {(RECEIPTS_NS, "request"): Report.DELIVERED, (MARKERS_NS, "markable"): Report.DISPLAYED}


@dataclass(frozen=True, slots=True)
class Notices:
    chat_state: ChatState | None = None
    report: Report | None = None
    about: str = ""
    wants: tuple[Report, ...] = ()


NOTHING = Notices()


def read_notices(payloads: Iterable[Element]) -> Notices:
    """Of several of a kind the first counts. Somebody who reports asks for nothing (XEP-0184 §5.5)."""
    state: ChatState | None = None
    report: Report | None = None
    about = ""
    wants: list[Report] = []
    for each in payloads:
        name = (each.ns, each.name)
        if each.ns == CHAT_STATES_NS:
            state = state or _STATES.get(each.name)
        elif name in _REPORTS and each.get("id"):
            # A marker of display says more than a receipt beside it.
            if report is None or _REPORTS[name] is Report.DISPLAYED:
                report, about = _REPORTS[name], each.get("id")[:256]
        elif name in _WANTS:
            wants.append(_WANTS[name])
    if state is None and report is None and not wants:
        return NOTHING
    return Notices(state, report, about, () if report else tuple(wants))


def write_notices(message: InstantMessage) -> str:
    """The payloads of a message that was no stanza before."""
    out = []
    if message.chat_state is not None:
        out.append(f"<{message.chat_state.value} xmlns='{CHAT_STATES_NS}'/>")
    if message.report is Report.DELIVERED:
        out.append(f"<received xmlns='{RECEIPTS_NS}' id='{escape_attribute(message.about)}'/>")
    elif message.report is Report.DISPLAYED:
        out.append(f"<displayed xmlns='{MARKERS_NS}' id='{escape_attribute(message.about)}'/>")
    if Report.DELIVERED in message.wants:
        out.append(f"<request xmlns='{RECEIPTS_NS}'/>")
    if Report.DISPLAYED in message.wants:
        out.append(f"<markable xmlns='{MARKERS_NS}'/>")
    if message.markup:
        out.append(f"<html xmlns='{XHTML_NS}'><body xmlns='{XHTML_BODY_NS}'>{message.markup}</body></html>")
    if message.file is not None:
        out.append(f"<x xmlns='{OOB_NS}'><url>{escape_text(message.file.url)}</url></x>")
    return "".join(out)
