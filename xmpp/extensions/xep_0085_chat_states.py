"""XEP-0085 Chat State Notifications: between clients."""

from __future__ import annotations

from xmpp.extensions import Extension, Status

NS = "http://jabber.org/protocol/chatstates"
STATES = ("active", "composing", "paused", "inactive", "gone")

EXTENSION = Extension(
    spec="XEP-0085",
    name="Chat State Notifications",
    version="2.1",
    status=Status.CARRIED,
    notes="Never stored alone.",
    conversational=frozenset({NS}),
    transient=frozenset((NS, state) for state in STATES),
)
