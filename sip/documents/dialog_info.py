"""application/dialog-info+xml (RFC 4235): a person's presence as a lamp shows it.

Busy (one confirmed dialog) while they are on the phone or do not want to be disturbed, ringing (an early one)
while a call of theirs rings, free (its end) in every other state, for a lamp has no word for "not there".
Nothing of any real call is ever told: no parties, no Call-ID.
"""

from __future__ import annotations

from presence.model import PresenceDocument, Show
from sip.addressing import to_uri
from sip.documents import Body, document
from sip.xml import escape

CONTENT_TYPE = "application/dialog-info+xml"
_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="'
)


@document("dialog", CONTENT_TYPE)
def render(presence: PresenceDocument) -> Body:
    uri = escape(to_uri(presence.address))
    rest = (
        f'" state="full" entity="{uri}"><dialog id="presence" direction="recipient">'
        f"<state>{lamp(presence)}</state></dialog></dialog-info>\n"
    )
    return Body(CONTENT_TYPE, (_HEAD + rest).encode(), number_at=len(_HEAD))


def lamp(presence: PresenceDocument) -> str:
    """The state of the one dialog (RFC 4235 §3.7.1)."""
    if busy(presence):
        return "confirmed"
    return "early" if presence.person is not None and presence.person.ringing else "terminated"


def busy(presence: PresenceDocument) -> bool:
    """On the phone, or whatever of theirs people would call does not want to be disturbed."""
    if presence.person is not None and "on-the-phone" in presence.person.activities:
        return True
    shows = [each.show for each in presence.tuples if each.open]
    return bool(shows) and shows[0] is Show.DND
