"""`GET /api/bans`: who must wait after failed logins."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from gateway.admin.resource import Desk, answer, resource


@resource("/api/bans")
async def bans(request: Request, desk: Desk) -> Response:
    """The bans in force, and until when (Unix seconds)."""
    return answer({"now": desk.clock(), "bans": await desk.service.guard.bans()})
