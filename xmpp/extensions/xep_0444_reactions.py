"""XEP-0444 Message Reactions: between clients. Stored and archived, as they would be missed later."""

from __future__ import annotations

from xmpp.extensions import Extension, Status

NS = "urn:xmpp:reactions:0"

EXTENSION = Extension(
    spec="XEP-0444",
    name="Message Reactions",
    version="0.2.0",
    status=Status.CARRIED,
    notes="A phone is not shown any.",
    conversational=frozenset({NS}),
)
