"""PUBLISH (RFC 3903)."""

from __future__ import annotations

from presence.errors import Unavailable
from sip.addressing import to_address
from sip.errors import ProtocolError
from sip.methods import Incoming, Services, method
from sip.runtime import Reply


@method("PUBLISH")
async def publish(services: Services, incoming: Incoming) -> Reply:
    """Everybody publishes for themselves only (RFC 3903 §6 step 2)."""
    if to_address(incoming.request.uri) != incoming.user:
        raise ProtocolError(403, "Not Your Presence")
    try:
        response = await services.publisher.publish(
            incoming.user, incoming.request, incoming.flow, incoming.trace
        )
    except Unavailable:
        # The state agent could not be reached: never a 200 for what is not stored.
        raise ProtocolError(504, headers=(("Retry-After", "5"),)) from None
    return Reply(response)
