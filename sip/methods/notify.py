"""NOTIFY (RFC 6665 §4.1.3): what other servers say of people here. It belongs to a subscription of ours, or
to none."""

from __future__ import annotations

from sip.methods import Incoming, Services, method
from sip.runtime import Reply


@method("NOTIFY", authenticated=False)
async def notify(services: Services, incoming: Incoming) -> Reply:
    response = services.following.answer(incoming.request)
    # It knows what our SUBSCRIBE said.
    services.rates.known(incoming.flow.host, services.runtime.now())
    return Reply(response)
