"""application/xpidf+xml: what came before PIDF (draft-rosenberg-impp-pidf-00), with Microsoft's sub-status.

Windows Messenger and the phones of its time show nothing else; some later ones do not show PIDF well. A
document is about one address, so it tells of the best service only.
"""

from __future__ import annotations

from presence.model import PresenceDocument, Show
from sip.addressing import to_uri
from sip.documents import Body, document
from sip.documents.dialog_info import busy
from sip.pidf import to_q, tuple_id
from sip.xml import escape

CONTENT_TYPE = "application/xpidf+xml"
_SUBSTATUS = {Show.AWAY: "away", Show.XA: "away", Show.DND: "busy", Show.CHAT: "online", None: "online"}
_MEALS = frozenset(("meal", "breakfast", "lunch", "dinner"))


@document("presence", CONTENT_TYPE)
def render(presence: PresenceDocument) -> Body:
    uri = escape(to_uri(presence.address))
    status, substatus = _state(presence)
    best = presence.tuples[0] if presence.tuples else None
    q = to_q(best.priority) if best is not None else ""
    priority = f' priority="{q}"' if q else ""
    name = tuple_id(best.id) if best is not None else "offline"
    data = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<!DOCTYPE presence PUBLIC "-//IETF//DTD RFCxxxx XPIDF 1.0//EN" "xpidf.dtd">\n'
        f'<presence><presentity uri="{uri};method=SUBSCRIBE"/><atom id="{name}">'
        f'<address uri="{uri};user=ip"{priority}><status status="{status}"/>'
        f'<msnsubstatus substatus="{substatus}"/></address></atom></presence>\n'
    )
    return Body(CONTENT_TYPE, data.encode("utf-8", "replace"))


def _state(presence: PresenceDocument) -> tuple[str, str]:
    """Status and sub-status."""
    activities = presence.person.activities if presence.person is not None else ()
    if "on-the-phone" in activities:
        return "inuse", "onthephone"
    if not presence.online:
        return "closed", "offline"
    if busy(presence):
        return "inuse", "busy"
    if _MEALS.intersection(activities):
        return "open", "outtolunch"
    best = presence.tuples[0]
    if best.show is None and best.idle_since is not None:
        return "open", "idle"
    return "open", _SUBSTATUS[best.show]
