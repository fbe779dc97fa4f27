"""XEP-0319 Last User Interaction in Presence: carried between clients, and mapped from and to phones."""

from __future__ import annotations

from xmpp.extensions import Extension, Status

EXTENSION = Extension(
    spec="XEP-0319",
    name="Last User Interaction in Presence",
    version="1.0.3",
    status=Status.COMPLETE,
    notes="Is a phone's RPID user-input, and the other way round.",
)
