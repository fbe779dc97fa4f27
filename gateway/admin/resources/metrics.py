"""`GET /metrics`: every node's samples in Prometheus' text format. Asks for a token only if
`admin.metrics_token` is set."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from gateway.admin.resource import ApiError, Desk, authorised, resource
from gateway.metrics import render


@resource("/metrics", open=True)
async def metrics(request: Request, desk: Desk) -> Response:
    """All nodes at once: a scrape of one admin is enough."""
    wanted = desk.settings.admin.metrics_token
    if wanted and not authorised(request, wanted):
        raise ApiError(401, "a token is needed")
    text = render(await desk.bus.nodes(), desk.clock())
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
