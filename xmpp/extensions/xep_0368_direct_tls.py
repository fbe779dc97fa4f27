"""XEP-0368 SRV records for XMPP over TLS: connections that begin with TLS are accepted on `xmpp.listen_tls`.

The `_xmpps-client._tcp` record is the operator's; with ALPN `xmpp-client` the port may be shared.
"""

from __future__ import annotations

from xmpp.extensions import Extension, Status

EXTENSION = Extension(
    spec="XEP-0368",
    name="SRV records for XMPP over TLS",
    version="1.1.0",
    status=Status.COMPLETE,
    notes="Of clients; there are no streams to other servers yet.",
)
