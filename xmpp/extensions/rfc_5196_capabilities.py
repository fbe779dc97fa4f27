"""RFC 5196 of XMPP clients: phones are told what a client can do, by its capabilities (XEP-0115, XEP-0390).

# GAP RFC 5196 §3.2: audio and video are what the client can do with other clients; calls do not cross
# GAP XEP-0115 §6.2: what a phone can do is told to phones only
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xmpp.extensions import Extension, Status
from xmpp.extensions.xep_0030_disco import INFO_NS

if TYPE_CHECKING:
    from xmpp.session import Session

ABILITIES = {
    INFO_NS: "message",
    "urn:xmpp:jingle:apps:rtp:audio": "audio",
    "urn:xmpp:jingle:apps:rtp:video": "video",
    "urn:xmpp:rtt:0": "text",
    "client/bot": "automata",
}
"Feature, or identity → §3.2's name. Any client that answers at all can be written to."


def _capable(session: Session, features: frozenset[str]) -> None:
    found = tuple(sorted(word for feature, word in ABILITIES.items() if feature in features))
    session.availability.capable_of(found or None)


EXTENSION = Extension(
    spec="RFC 5196",
    name="Capabilities in Presence",
    version="2008",
    status=Status.PARTIAL,
    notes="By XEP-0115, XEP-0390: message, audio, video (XEP-0167), text (XEP-0301), automata. For phones.",
    understood=frozenset(ABILITIES),
    capable=_capable,
)
