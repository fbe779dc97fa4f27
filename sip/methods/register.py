"""REGISTER (RFC 3261 §10)."""

from __future__ import annotations

from sip.methods import Incoming, Services, method
from sip.runtime import Reply
from sip.topology import origin_of


@method("REGISTER")
async def register(services: Services, incoming: Incoming) -> Reply:
    """Bind the phone, learn what it takes, then give it what it missed: its own earlier publications, its
    subscriptions' state."""
    user, request = incoming.user, incoming.request
    way = services.topology.way(request, incoming.flow)
    response = await services.registrar.register(user, request, way, incoming.trace)
    phone = services.registrar.speaking(user, way, origin_of(request))
    if phone is None or phone.flow != way:
        # It is the other phone at that host: this one has gone.
        return Reply(response)
    await services.waker.keep(user, phone.binding)

    def then() -> None:
        services.pager.announced((user, phone.binding.endpoint), request)
        services.notifier.moved(user, phone.binding.contact, way)
        services.deliverer.registered(user, phone.binding)
        if phone.binding.registered == phone.binding.refreshed:
            services.runtime.spawn(services.publisher.adopt(user, phone.binding, incoming.flow))
            services.runtime.spawn(services.assistant.arrived(user))

    return Reply(response, then)
