"""XEP-0223 Persistent Storage of Private Data via PubSub: nodes of personal eventing for the owner alone."""

from __future__ import annotations

from xmpp.extensions import Extension, Status

EXTENSION = Extension(
    spec="XEP-0223",
    name="Persistent Storage of Private Data via PubSub",
    version="1.1.1",
    status=Status.CARRIED,
    notes="By personal eventing, with publish-options.",
)
