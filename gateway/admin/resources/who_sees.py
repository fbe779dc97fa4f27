"""`GET /api/who-sees?watcher=&presentity=`: whether one sees the other, why, what there is to see, and where
it would be shown."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from gateway.admin.inquiry import ask_sessions
from gateway.admin.resource import ApiError, Desk, address_of, answer, resource


@resource("/api/who-sees")
async def who_sees(request: Request, desk: Desk) -> Response:
    """The decision with its reason, both roster items, the presentity's document as the watcher sees it
    (`partly`: rules of the presentity keep something from them), the watcher's sessions and dialogs."""
    try:
        watcher, presentity = (
            address_of(request.query_params[name], desk) for name in ("watcher", "presentity")
        )
    except KeyError as error:
        raise ApiError(400, "watcher and presentity are needed") from error
    now = desk.clock()
    decision = await desk.service.decide(watcher, presentity)
    watchers, presentitys = await desk.store.pair(watcher, presentity)
    (snapshot,) = await desk.bus.snapshots([presentity], now)
    document = await desk.service.show(snapshot, watcher)
    sessions, silent = await ask_sessions(desk, str(watcher))
    return answer(
        {
            "watcher": watcher,
            "presentity": presentity,
            "now": now,
            "decision": decision,
            "watcher_item": watchers,
            "presentity_item": presentitys,
            "document": document,
            "online": document.online,
            "partly": document != desk.service.compose(snapshot),
            "places": sessions,
            "silent": silent,
        }
    )
