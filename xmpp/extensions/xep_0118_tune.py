"""XEP-0118 User Tune: by personal eventing, between clients. RPID has no word for it."""

from __future__ import annotations

from xmpp.extensions import Extension, Status

EXTENSION = Extension(
    spec="XEP-0118",
    name="User Tune",
    version="1.3.0",
    status=Status.CARRIED,
    notes="Phones are not told: RPID has no word for it.",
)
