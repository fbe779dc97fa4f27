"""Settings of the SIP door."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class SipSettings(BaseModel):
    """Phones connect here with SIP (RFC 3261)."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, frozen=True)

    listen_udp: tuple[str, ...] = ("[::]:5060",)
    "Addresses for UDP, as `HOST:PORT` or `[IPv6]:PORT`. `[::]` takes IPv4, too."
    listen_tcp: tuple[str, ...] = ("[::]:5060",)
    "Addresses for TCP."
    listen_tls: tuple[str, ...] = ("[::]:5061",)
    "Addresses for TLS."
