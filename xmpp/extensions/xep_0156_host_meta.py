"""XEP-0156 Discovering Alternative XMPP Connection Methods: `/.well-known/host-meta` and its JSON name
the addresses for WebSocket and BOSH (`xmpp.web`)."""

from __future__ import annotations

from xmpp.extensions import Extension, Status

EXTENSION = Extension(
    spec="XEP-0156",
    name="Discovering Alternative XMPP Connection Methods",
    version="1.4.0",
    status=Status.COMPLETE,
    notes="The DNS TXT records it once had are deprecated, and not the server's.",
)
