"""text/lpidf: presence in lines of text (draft-rosenberg-impp-lpidf-00): whose it is, and where they can be
reached."""

from __future__ import annotations

from presence.model import PresenceDocument
from sip.addressing import to_uri
from sip.documents import Body, document
from sip.pidf import to_q

CONTENT_TYPE = "text/lpidf"


@document("presence", CONTENT_TYPE)
def render(presence: PresenceDocument) -> Body:
    uri = to_uri(presence.address)
    lines = [f"To: <{uri}>"]
    lines += [f"Contact: <{uri}>;q={to_q(each.priority) or 1}" for each in presence.tuples if each.open]
    return Body(CONTENT_TYPE, "".join(f"{line}\r\n" for line in dict.fromkeys(lines)).encode())
