"""The whole XMPP server, on a bus in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from presence.edge.accounts import AccountSettings, open_accounts
from presence.edge.sql import SqlStore
from presence.memory import MemoryBus
from presence.ports import Inquiry, NodeInfo, RosterChange
from presence.service import PresenceService
from presence.subscriptions import RosterItem, Subscription
from tests.support.stores import add_person, new_store
from tests.support.xmppclient import Client
from tests.xmpp.echo import make_certificate
from tests.xmpp.scene import Silence, address
from xmpp.edge.door import XmppDoor
from xmpp.settings import XmppSettings


class Server:
    def __init__(self, door: XmppDoor, bus: MemoryBus, certificate: Path, key: Path) -> None:
        self.door = door
        self.bus = bus
        self.certificate = certificate
        self.key = key

    def where(self, *, direct: bool = False) -> tuple[str, int]:
        return next((one.host, one.port) for one in self.door.listening if one.direct == direct)

    def client(self, user: str, resource: str = "desk", password: str = "secret") -> Client:
        return Client(f"{user}@example.org", password, self.where(), resource)

    async def listen(self) -> None:
        """What the node does with its inbox."""
        while True:
            for envelope in await self.bus.receive("xmpp-1", 1.0):
                assert not isinstance(envelope, Inquiry)
                self.door.receive(envelope)


@asynccontextmanager
async def running(directory: Path, **settings: str) -> AsyncIterator[Server]:
    store = await new_store(directory / "tandem.db", friends)
    accounts = open_accounts(AccountSettings(), store)
    bus = MemoryBus(clock=time.time)
    await bus.join(NodeInfo(name="xmpp-1", role="xmpp", incarnation="i", started=0, beat=time.time()))
    certificate, key = make_certificate(directory)
    service = PresenceService(
        node="xmpp-1",
        incarnation="i",
        domains=frozenset({"example.org"}),
        bus=bus,
        store=store,
        accounts=accounts,
        metrics=Silence(),
        clock=time.time,
    )
    door = XmppDoor(
        XmppSettings(listen=("127.0.0.1:0",), listen_tls=("127.0.0.1:0",), **settings),  # type: ignore[arg-type]
        domains=["Example.ORG"],
        service=service,
        accounts=accounts,
        metrics=Silence(),
        certificate=certificate,
        key=key,
    )
    server = Server(door, bus, certificate, key)
    listening = asyncio.create_task(server.listen())
    await door.start()
    try:
        yield server
    finally:
        await door.stop()
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await accounts.close()
        await store.close()


async def friends(store: SqlStore) -> None:
    """Alice and bob."""
    alice, bob = address("alice"), address("bob")
    for one, other in ((alice, bob), (bob, alice)):
        await add_person(store, one, "secret")
        item = RosterItem(contact=other, subscription=Subscription.BOTH, listed=True)
        await store.save([RosterChange(owner=one, previous=RosterItem(contact=other), item=item)])
