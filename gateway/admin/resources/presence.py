"""`GET /api/presence/{address}`: everything the gateway holds about one person, as a fully authorised watcher
would see it and why."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from gateway.admin.resource import ApiError, Desk, address_of, answer, resource


@resource("/api/presence/{address}")
async def show(request: Request, desk: Desk) -> Response:
    """The composed document, the account, and what the bus keeps."""
    address = address_of(request.path_params["address"], desk)
    account = await desk.accounts.find(address)
    if account is None and not desk.service.serves(address.domain):
        raise ApiError(404, f"{address.domain} is not a domain of this gateway")
    if account is None:
        raise ApiError(404, f"there is no account {address}")
    now = desk.clock()
    (snapshot,) = await desk.bus.snapshots([address], now)
    document = desk.service.compose(snapshot)
    return answer(
        {
            "address": address,
            "now": now,
            "online": document.online,
            "document": document,
            "account": {"enabled": account.enabled, "phone_only": account.phone_only},
            "bus": await desk.bus.inspect(address, now),
        }
    )
