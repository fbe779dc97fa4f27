"""XEP-0424 Message Retraction: between clients. Stored and archived like the message it takes back."""

from __future__ import annotations

from xmpp.extensions import Extension, Status

EXTENSION = Extension(
    spec="XEP-0424",
    name="Message Retraction",
    version="0.4.2",
    status=Status.CARRIED,
    notes="The archive keeps both; clients do not show what was taken back.",
)
