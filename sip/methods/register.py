"""REGISTER (RFC 3261 §10)."""

from __future__ import annotations

from sip.methods import Incoming, Services, method
from sip.runtime import Reply


@method("REGISTER")
async def register(services: Services, incoming: Incoming) -> Reply:
    """Bind the phone, then give it what it missed: its own earlier publications, its subscriptions' state."""
    user, flow = incoming.user, incoming.flow
    response = await services.registrar.register(user, incoming.request, flow, incoming.trace)

    def then() -> None:
        phone = services.registrar.speaking(user, flow)
        if phone is None or phone.flow != flow:
            # It is the other phone at that host: this one has gone.
            return
        services.notifier.moved(user, phone.binding.contact, flow)
        if phone.binding.registered == phone.binding.refreshed:
            services.runtime.spawn(services.publisher.adopt(user, phone.binding, flow))
            services.runtime.spawn(services.assistant.arrived(user))

    return Reply(response, then)
