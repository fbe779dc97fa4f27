"""XEP-0184 Message Delivery Receipts: between clients.

A receipt without a body is stored like a message: were it lost, its message would look undelivered for ever.
"""

from __future__ import annotations

from xmpp.extensions import Extension, Status

NS = "urn:xmpp:receipts"

EXTENSION = Extension(
    spec="XEP-0184",
    name="Message Delivery Receipts",
    version="1.4.0",
    status=Status.CARRIED,
    notes="Receipts are stored for recipients who are away; a request alone is not.",
    conversational=frozenset({NS}),
    transient=frozenset({(NS, "request")}),
)
