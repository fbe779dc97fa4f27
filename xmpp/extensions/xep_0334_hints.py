"""XEP-0334 Message Processing Hints: followed where a message comes in, and carried on."""

from __future__ import annotations

from xmpp.extensions import Extension, Hint, Status

NS = "urn:xmpp:hints"

EXTENSION = Extension(
    spec="XEP-0334",
    name="Message Processing Hints",
    version="0.4.0",
    status=Status.COMPLETE,
    features=(NS,),
    account_features=(NS,),
    transient=frozenset((NS, name) for name in ("store", "no-store", "no-permanent-store", "no-copy")),
    hints={
        (NS, "store"): Hint.STORE,
        (NS, "no-store"): Hint.NO_STORE,
        (NS, "no-permanent-store"): Hint.NO_ARCHIVE,
        (NS, "no-copy"): Hint.NO_COPY,
    },
)
