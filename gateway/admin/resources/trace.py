"""`GET /api/trace/{id}`: one message's or publication's whole way, hop by hop."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from gateway.admin.resource import ApiError, Desk, answer, resource


@resource("/api/trace/{id}")
async def trace(request: Request, desk: Desk) -> Response:
    """All entries of the trace, oldest first; 404 when none is kept (any more)."""
    wanted = request.path_params["id"]
    entries = []
    cursor = ""
    while True:
        after, batch = await desk.bus.traces(trace=wanted, after=cursor)
        entries += batch
        if after == cursor or not batch:
            break
        cursor = after
    if not entries:
        raise ApiError(404, f"no trace {wanted} is kept; the bus keeps the last of them only")
    return answer({"trace": wanted, "entries": sorted(entries, key=lambda entry: entry.at)})
