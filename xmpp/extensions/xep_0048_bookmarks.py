"""XEP-0048 Bookmarks as clients of old keep them, in private XML storage; one with XEP-0402's."""

from __future__ import annotations

from xmpp.extensions import Extension, Status

EXTENSION = Extension(
    spec="XEP-0048",
    name="Bookmarks",
    version="1.2",
    status=Status.COMPLETE,
    notes="In private XML storage, as clients of old do; converted from and to XEP-0402.",
)
