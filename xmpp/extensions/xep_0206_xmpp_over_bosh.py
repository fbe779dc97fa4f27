"""XEP-0206 XMPP over BOSH: what a stream is within such a session (`xmpp.bosh`)."""

from __future__ import annotations

from xmpp.extensions import Extension, Status

EXTENSION = Extension(spec="XEP-0206", name="XMPP over BOSH", version="1.4", status=Status.COMPLETE)
