"""Asking every node for what only it knows: an `Inquiry` to all, their answers in this node's records."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import msgspec

from gateway.admin.resource import Desk
from presence.ports import Bus, Inquiry

PATIENCE = 1.5
"Seconds the nodes have to answer."
DEAD_AFTER = 10.0
MOST = 1000
"Sessions one node tells of."


def records_name(node: str) -> str:
    """Where answers for this asker are kept."""
    return f"{node}:answers"


def select(sessions: list[dict[str, Any]], address: str) -> list[dict[str, Any]]:
    """Those that concern the address (any field that names it), all for an empty one; at most `MOST`."""
    if address:
        sessions = [s for s in sessions if any(v == address or _bare(v) == address for v in s.values())]
    return sessions[:MOST]


def _bare(value: Any) -> str:
    return value.partition("/")[0] if isinstance(value, str) else ""


def _named(node: str, session: dict[str, Any]) -> dict[str, Any]:
    """With its node, and whose it is where only a resource is told."""
    return {"node": node, "address": _bare(session.get("jid", "")), **session}


async def reply(bus: Bus, node: str, inquiry: Inquiry, sessions: list[dict[str, Any]]) -> None:
    """Answer an inquiry; called by every node."""
    data = msgspec.json.encode(select(sessions, inquiry.address), enc_hook=str)
    await bus.put_records(inquiry.asker, {f"{inquiry.id}/{node}": data})


async def ask_sessions(desk: Desk, address: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Sessions of all nodes, each with its `node`, and the names of live nodes that did not answer."""
    place = records_name(desk.node)
    inquiry = Inquiry(id=secrets.token_hex(8), asker=place, address=address)
    now = desk.clock()
    missing = {
        node.name
        for node in await desk.bus.nodes()
        if now - node.beat < DEAD_AFTER and node.name != desk.node
    }
    await desk.bus.broadcast(inquiry)
    found: list[dict[str, Any]] = []
    keys: list[str] = []
    try:
        async with asyncio.timeout(PATIENCE):
            while missing:
                for key, data in (await desk.bus.records(place)).items():
                    asked, _, node = key.partition("/")
                    if asked == inquiry.id and node in missing:
                        missing.discard(node)
                        keys.append(key)
                        found += [_named(node, session) for session in msgspec.json.decode(data)]
                await asyncio.sleep(0.02)
    except TimeoutError:
        pass
    await desk.bus.drop_records(place, keys)
    found.sort(key=lambda s: (str(s.get("address", "")), str(s["node"])))
    return found, sorted(missing)
