"""`GET /api/sessions[?address=]`: connections, bindings and dialogs of all nodes."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from gateway.admin.inquiry import ask_sessions
from gateway.admin.resource import Desk, address_of, answer, resource


@resource("/api/sessions")
async def sessions(request: Request, desk: Desk) -> Response:
    """What the nodes answer; those that did not in time are listed as silent."""
    wanted = request.query_params.get("address", "")
    found, silent = await ask_sessions(desk, str(address_of(wanted, desk)) if wanted else "")
    return answer({"now": desk.clock(), "sessions": found, "silent": silent})
