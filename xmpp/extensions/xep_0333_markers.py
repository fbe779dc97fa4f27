"""XEP-0333 Displayed Markers: between clients. Stored and archived, as receipts are."""

from __future__ import annotations

from xmpp.extensions import Extension, Status

NS = "urn:xmpp:chat-markers:0"

EXTENSION = Extension(
    spec="XEP-0333",
    name="Displayed Markers",
    version="1.0.0",
    status=Status.CARRIED,
    conversational=frozenset({NS}),
    transient=frozenset({(NS, "markable")}),
)
