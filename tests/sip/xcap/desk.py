"""An XCAP server over the bus in memory and a real SQLite file, and what its clients see of it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from lxml import etree

from presence.address import Address
from presence.edge.accounts import AccountSettings, open_accounts
from presence.edge.sql import SqlStore
from presence.memory import MemoryBus
from presence.ports import AuthorisationChanged, Inbound, NodeInfo
from presence.service import PresenceService
from presence.subscriptions import RosterItem
from sip.addressing import to_uri
from sip.xcap.library import Library
from sip.xcap.server import Question, Reply, XcapServer
from tests.sip.house import ALICE, BOB, CAROL, DOMAIN, Tally
from tests.support.stores import new_store

T = TypeVar("T")
VECTORS = Path(__file__).parents[2] / "vectors" / "xcap"
ROOT = f"https://xcap.{DOMAIN}/xcap-root"
LISTS = "application/resource-lists+xml"
RULES = "application/auth-policy+xml"
SERVICES = "application/rls-services+xml"
ELEMENT = "application/xcap-el+xml"


def fits(data: bytes, schema: str) -> None:
    """Raises where a document does not fit the schema of its RFC."""
    etree.XMLSchema(etree.parse(VECTORS / f"{schema}.xsd")).assertValid(etree.fromstring(data))


class Counting:
    """Implements `sip.xcap.library.Aside`."""

    def __init__(self) -> None:
        self.done = 0
        "What was done aside."

    async def __call__(self, work: Callable[[], T]) -> T:
        self.done += 1
        return work()


class Desk:
    """Alice and bob have XMPP clients, carol has only a phone."""

    def __init__(
        self, service: PresenceService, store: SqlStore, bus: MemoryBus, library: Library, aside: Counting
    ) -> None:
        self.aside = aside
        self.service = service
        self.store = store
        self.bus = bus
        self.library = library
        self.server = XcapServer(library)

    async def ask(self, method: str, path: str, body: str = "", kind: str = "", **options: str) -> Reply:
        """Of alice's tree, if the path begins with a usage alone: `resource-lists/index`."""
        auid, _, rest = path.partition("/")
        if not rest.startswith(("users/", "global/")):
            rest = f"users/{to_uri(ALICE)}/{rest}"
        question = Question(
            method=method,
            path=f"/{auid}/{rest}",
            body=body.encode(),
            content_type=kind,
            query=options.get("query", ""),
            if_match=options.get("if_match"),
            if_none_match=options.get("if_none_match"),
        )
        return await self.server.answer(ALICE, question)

    async def get(self, path: str) -> str:
        reply = await self.ask("GET", path)
        assert reply.status == 200, reply
        return reply.body.decode()

    async def put(self, path: str, body: str, kind: str, **options: str) -> Reply:
        reply = await self.ask("PUT", path, body, kind, **options)
        assert reply.status in (200, 201), reply
        return reply

    async def roster(self, owner: Address = ALICE) -> dict[Address, RosterItem]:
        _, items = await self.service.roster(owner)
        return {item.contact: item for item in items}

    async def told(self) -> list[Inbound]:
        """What nodes interested in alice heard since the last time."""
        return await self.bus.receive("sip-1", 0)

    async def pushes(self) -> list[AuthorisationChanged]:
        return [e for e in await self.told() if isinstance(e, AuthorisationChanged) and e.push]


@asynccontextmanager
async def open_desk(folder: Path) -> AsyncIterator[Desk]:
    store = await new_store(folder / "tandem.sqlite", people)
    accounts = open_accounts(AccountSettings(), store)
    bus = MemoryBus()
    now = time.time()
    await bus.join(NodeInfo(name="sip-1", role="sip", incarnation="i1", started=now, beat=now))
    service = PresenceService(
        node="sip-1",
        incarnation="i1",
        domains=frozenset({DOMAIN}),
        bus=bus,
        store=store,
        accounts=accounts,
        metrics=Tally(),
        clock=time.time,
    )
    await service.watch([ALICE])
    aside = Counting()
    library = Library(service, accounts, (DOMAIN,), ROOT, {"buddies", "presence"}, time.time, aside)
    try:
        yield Desk(service, store, bus, library, aside)
    finally:
        await accounts.close()
        await store.close()


async def people(store: SqlStore) -> None:
    accounts = open_accounts(AccountSettings(), store)
    for address in (ALICE, BOB, CAROL):
        await accounts.add(address, "secret")
    for address in (ALICE, BOB):
        await accounts.seen_on_xmpp(address)
    await accounts.close()
