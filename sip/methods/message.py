"""MESSAGE (RFC 3428)."""

from __future__ import annotations

from sip.methods import Incoming, Services, method
from sip.runtime import Reply


@method("MESSAGE", passes_on=True)
async def message(services: Services, incoming: Incoming) -> Reply:
    return Reply(await services.pager.receive(incoming.user, incoming.request, incoming.flow, incoming.trace))
