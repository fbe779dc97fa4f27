"""XEP-0153 vCard-Based Avatars: the image in the vCard, its hash in presence, put there by XEP-0398."""

from __future__ import annotations

from xmpp.extensions import Extension, Status

EXTENSION = Extension(
    spec="XEP-0153",
    name="vCard-Based Avatars",
    version="1.1.1",
    status=Status.COMPLETE,
    notes="Converted from and to User Avatar (XEP-0398).",
)
