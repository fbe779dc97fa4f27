"""Clients with stream management (XEP-0198)."""

from __future__ import annotations

import asyncio

from tests.xmpp.scene import Client, Scene, address
from xmpp.element import E, Element
from xmpp.host import Resumed
from xmpp.management import NS


async def enable(client: Client, **attrs: str) -> Element:
    await client.say_raw(E("enable", NS, attrs or {"resume": "true"}))
    (answer,) = [e for e in client.heard() if e.ns == NS]
    return answer


async def managed(xmpp: Scene, user: str, resource: str = "desk") -> tuple[Client, str]:
    """A client that is online, with a session it can take up again."""
    client = await xmpp.online(user, resource)
    return client, (await enable(client)).get("id")


async def resume(xmpp: Scene, user: str, id: str, h: int, node: str = "xmpp-1") -> tuple[Client, Element]:
    """Over a new connection; what the server answered first."""
    router = await xmpp.node(node)
    client = Client(xmpp)
    element = E("resume", NS, {"previd": id, "h": str(h)})
    asked = asyncio.ensure_future(router.threshold().negotiable[NS](address(user), element, client, "en"))
    while not asked.done():
        await xmpp.settle()
        await asyncio.sleep(0)
    answer = await asked
    if isinstance(answer, Resumed):
        client._session = router.session(answer.session.jid)
        answer = answer.answer
    await xmpp.settle()
    return client, answer


async def acknowledge(client: Client, h: int) -> None:
    await client.say_raw(E("a", NS, {"h": str(h)}))


def bodies(client: Client) -> list[str]:
    return [b.text for m in client.heard("message") if (b := m.find("body")) is not None]


async def pending(xmpp: Scene, user: str) -> int:
    return len((await xmpp.bus.inspect(address(user), xmpp.clock()))["pending"])
