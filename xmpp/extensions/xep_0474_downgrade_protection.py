"""XEP-0474 SASL SCRAM Downgrade Protection: `xmpp.sasl.Scram` tells clients what the lists they saw looked
like when they left here."""

from __future__ import annotations

from xmpp.extensions import Extension, Status

EXTENSION = Extension(
    spec="XEP-0474",
    name="SASL SCRAM Downgrade Protection",
    version="0.5.0",
    status=Status.COMPLETE,
    notes="In both profiles of SASL.",
)
