"""XEP-0410 MUC Self-Ping: answered by the room, not by the client (§3.3; `xmpp.rooms.requests.forward`)."""

from __future__ import annotations

from xmpp.extensions import Extension, Status
from xmpp.rooms.names import SELF_PING

EXTENSION = Extension(
    spec="XEP-0410",
    name="MUC Self-Ping (Schrödinger's Chat)",
    version="1.1.0",
    status=Status.COMPLETE,
    room_features=(SELF_PING,),
)
