"""XEP-0249 Direct MUC Invitations: from one user to another, kept until they come."""

from __future__ import annotations

from xmpp.extensions import Extension, Status

EXTENSION = Extension(
    spec="XEP-0249",
    name="Direct MUC Invitations",
    version="1.2",
    status=Status.CARRIED,
    notes="A room's mediated invitations have one inside, for clients that know only these.",
)
