"""`GET /api/bus[?address=][&trace=][&after=|&last=]`: what happens on the bus, as server-sent events, one hop
each."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from gateway.admin.resource import ApiError, Desk, address_of, plain, resource
from presence.errors import Unavailable
from presence.ports import TraceEntry

log = structlog.get_logger()

MOST_TAILS = 20
"Tails at a time: each holds a reader on the bus."
WAIT = 5.0
"Seconds between signs of life on a quiet bus; a client that went away is noticed then."

TOGETHER = 0.1
"Seconds within which the nodes' hops of one story are put in the order they happened."

MOST_LAST = 1000
"Hops of the past a tail may begin with."
BATCH = 500
_CURSOR = re.compile(r"\$|[0-9]{1,20}(?:-[0-9]{1,20})?(?:/[0-9]{1,6})?")

_open_tails: set[object] = set()


@resource("/api/bus")
async def tail(request: Request, desk: Desk) -> Response:
    """Follows until the client goes. `after` is a cursor (an event's id); without one only what is new is
    told, behind the `last` hops that are kept."""
    if len(_open_tails) >= MOST_TAILS:
        raise ApiError(503, f"{MOST_TAILS} tails are open already")
    wanted = request.query_params.get("address", "")
    address = str(address_of(wanted, desk)) if wanted else ""
    after = request.query_params.get("after", "$")
    if not _CURSOR.fullmatch(after):
        raise ApiError(400, "after: not a cursor")
    last = request.query_params.get("last", "0")
    if not (last.isascii() and last.isdigit() and len(last) < 6 and int(last) <= MOST_LAST):
        raise ApiError(400, f"last: a number of hops, at most {MOST_LAST}")
    events = _events(request, desk, address, request.query_params.get("trace", ""), after, int(last))
    return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def _events(
    request: Request, desk: Desk, address: str, trace: str, after: str, last: int
) -> AsyncIterator[str]:
    ticket = object()
    _open_tails.add(ticket)
    try:
        yield ": following\n\n"
        if last and after == "$":
            after, entries = await _last(desk, address, trace, last)
            for entry in entries:
                yield _event(after, entry)
        while not (desk.stopping.is_set() or await request.is_disconnected()):
            after, entries = await _next(desk, address, trace, after, WAIT)
            if entries:
                after, neighbours = await _next(desk, address, trace, after, TOGETHER)
                entries = sorted([*entries, *neighbours], key=lambda entry: entry.at)
            for entry in entries:
                yield _event(after, entry)
            if not entries:
                yield ": quiet\n\n"
    except Unavailable as error:
        log.warning("tail_ended", error=str(error))
    finally:
        _open_tails.discard(ticket)


def _event(cursor: str, entry: TraceEntry) -> str:
    return f"id: {cursor}\ndata: {msgspec.json.encode(plain(entry)).decode()}\n\n"


async def _last(desk: Desk, address: str, trace: str, count: int) -> tuple[str, list[TraceEntry]]:
    """The newest hops that are kept, in their order, and the cursor behind them."""
    newest: deque[TraceEntry] = deque(maxlen=count)
    cursor, read = "0", BATCH
    while read == BATCH and not desk.stopping.is_set():
        cursor, entries = await desk.bus.traces(trace=trace, address=address, after=cursor, limit=BATCH)
        newest.extend(entries)
        read = len(entries)
    return cursor, sorted(newest, key=lambda entry: entry.at)


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
