"""`GET /api/bus[?address=][&trace=][&after=]`: what happens on the bus, as server-sent events, one hop
each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from gateway.admin.resource import ApiError, Desk, address_of, plain, resource
from presence.ports import TraceEntry

MOST_TAILS = 20
"Tails at a time: each holds a reader on the bus."
WAIT = 5.0
"Seconds between signs of life on a quiet bus; a client that went away is noticed then."

TOGETHER = 0.1
"Seconds within which the nodes' hops of one story are put in the order they happened."

_open_tails: set[object] = set()


@resource("/api/bus")
async def tail(request: Request, desk: Desk) -> Response:
    """Follows until the client goes; `after` is a cursor (the event's id), empty for only what is new."""
    if len(_open_tails) >= MOST_TAILS:
        raise ApiError(503, f"{MOST_TAILS} tails are open already")
    wanted = request.query_params.get("address", "")
    address = str(address_of(wanted)) if wanted else ""
    events = _events(
        request, desk, address, request.query_params.get("trace", ""), request.query_params.get("after", "$")
    )
    return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def _events(request: Request, desk: Desk, address: str, trace: str, after: str) -> AsyncIterator[str]:
    ticket = object()
    _open_tails.add(ticket)
    try:
        yield ": following\n\n"
        while not (desk.stopping.is_set() or await request.is_disconnected()):
            after, entries = await _next(desk, address, trace, after, WAIT)
            if entries:
                after, neighbours = await _next(desk, address, trace, after, TOGETHER)
                entries = sorted([*entries, *neighbours], key=lambda entry: entry.at)
            for entry in entries:
                yield f"id: {after}\ndata: {msgspec.json.encode(plain(entry)).decode()}\n\n"
            if not entries:
                yield ": quiet\n\n"
    finally:
        _open_tails.discard(ticket)


async def _next(
    desk: Desk, address: str, trace: str, after: str, seconds: float
) -> tuple[str, list[TraceEntry]]:
    """One read of the trace; it ends early when the server stops."""
    reading = asyncio.ensure_future(
        desk.bus.traces(trace=trace, address=address, after=after, timeout=seconds)
    )
    stopping = asyncio.ensure_future(desk.stopping.wait())
    try:
        await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return reading.result() if reading.done() else (after, [])
    finally:
        reading.cancel()
        stopping.cancel()
