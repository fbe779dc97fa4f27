"""SUBSCRIBE (RFC 6665)."""

from __future__ import annotations

from sip.methods import Incoming, Services, method
from sip.runtime import Reply


@method("SUBSCRIBE")
async def subscribe(services: Services, incoming: Incoming) -> Reply:
    return await services.notifier.subscribe(incoming.user, incoming.request, incoming.flow, incoming.trace)
