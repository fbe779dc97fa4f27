"""XEP-0402 PEP Native Bookmarks: private nodes of personal eventing."""

from __future__ import annotations

from xmpp.extensions import Extension, Status

EXTENSION = Extension(
    spec="XEP-0402",
    name="PEP Native Bookmarks",
    version="1.2.0",
    status=Status.CARRIED,
    notes="By personal eventing; not converted from and to the bookmarks of XEP-0049.",
)
