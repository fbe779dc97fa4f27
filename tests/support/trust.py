"""What test clients take for proof of who a server is."""

from __future__ import annotations

import ssl


def trusting() -> ssl.SSLContext:
    """Takes any certificate, also a self-signed one, and loads none of the system's: that takes a while."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
