"""XEP-0160 Handling Offline Messages: what waits on the bus for its recipient."""

from __future__ import annotations

from xmpp.extensions import Extension, Status

EXTENSION = Extension(
    spec="XEP-0160",
    name="Best Practices for Handling Offline Messages",
    version="1.0.1",
    status=Status.COMPLETE,
    notes="Normal and chat messages wait, also those with only a receipt; chat states and headlines do not.",
    features=("msgoffline",),
)
