"""XEP-0084 User Avatar: two nodes of personal eventing (XEP-0163)."""

from __future__ import annotations

from xmpp.extensions import Extension, Status

EXTENSION = Extension(
    spec="XEP-0084",
    name="User Avatar",
    version="1.1.4",
    status=Status.CARRIED,
    notes="By personal eventing; converted from and to vCards (XEP-0398).",
)
