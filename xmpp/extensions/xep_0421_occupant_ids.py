"""XEP-0421 Occupant identifiers: a keyed hash of who it is, with a key of the room's own (§4.1)."""

from __future__ import annotations

from xmpp.extensions import Extension, Status
from xmpp.rooms.names import OCCUPANT_NS

EXTENSION = Extension(
    spec="XEP-0421",
    name="Occupant identifiers for semi-anonymous MUCs",
    version="1.0.1",
    status=Status.COMPLETE,
    room_features=(OCCUPANT_NS,),
)
