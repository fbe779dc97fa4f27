"""XEP-0124 BOSH: streams over HTTP requests, on `xmpp.listen_web` and `xmpp.listen_web_tls` (`xmpp.bosh`)."""

from __future__ import annotations

from xmpp.extensions import Extension, Status

EXTENSION = Extension(
    spec="XEP-0124",
    name="BOSH",
    version="1.11.2",
    status=Status.COMPLETE,
    notes="One stream in each session.",
)
