"""`GET /health`: whether people are being served, for load balancers and for humans. Needs no token, tells no
names of people."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from gateway.admin.resource import Desk, answer, resource
from gateway.config import Role
from presence.errors import Unavailable
from presence.ports import Bus, Store

PATIENCE = 2.0
"Seconds the bus and the store have to answer."
DEAD_AFTER = 10.0
"Seconds without a heartbeat."


@resource("/health", open=True)
async def health(_: Request, desk: Desk) -> Response:
    """200 `ok`, 200 `degraded` (some node is missing), 503 `down` (no bus, no store, or no door is
    served)."""
    bus, store = await asyncio.gather(_ping(desk.bus), _ping(desk.store))
    nodes: list[dict[str, Any]] = []
    alive: dict[str, int] = {}
    if bus["ok"]:
        now = desk.clock()
        for node in sorted(await desk.bus.nodes(), key=lambda n: n.name):
            up = now - node.beat < DEAD_AFTER
            alive[node.role] = alive.get(node.role, 0) + up
            nodes.append(
                {
                    "name": node.name,
                    "role": node.role,
                    "up": up,
                    "seconds_up": round(max(0.0, now - node.started)),
                }
            )
    wanted = {role: desk.settings.processes.count(role) for role in (Role.XMPP, Role.SIP)}
    missing = [role.value for role, count in wanted.items() if alive.get(role, 0) < count]
    served = any(alive.get(role, 0) for role in wanted)
    down = not (bus["ok"] and store["ok"] and served)
    status = "down" if down else "degraded" if missing else "ok"
    body = {"status": status, "bus": bus, "store": store, "missing": missing, "nodes": nodes}
    return answer(body, 503 if down else 200)


async def _ping(what: Bus | Store) -> dict[str, Any]:
    try:
        async with asyncio.timeout(PATIENCE):
            await what.ping()
    except (Unavailable, TimeoutError) as error:
        return {"ok": False, "error": str(error) or "no answer"}
    return {"ok": True}
