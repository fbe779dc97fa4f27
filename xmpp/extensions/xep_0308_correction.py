"""XEP-0308 Last Message Correction: between clients."""

from __future__ import annotations

from xmpp.extensions import Extension, Status

EXTENSION = Extension(
    spec="XEP-0308",
    name="Last Message Correction",
    version="1.2.1",
    status=Status.CARRIED,
    notes="A phone shows a correction as another message.",
)
