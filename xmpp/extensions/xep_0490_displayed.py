"""XEP-0490 Message Displayed Synchronization: private nodes of personal eventing."""

from __future__ import annotations

from xmpp.extensions import Extension, Status

EXTENSION = Extension(
    spec="XEP-0490",
    name="Message Displayed Synchronization",
    version="1.0.1",
    status=Status.CARRIED,
    notes="By personal eventing.",
)
