"""A SIP door over real loopback sockets, on the bus in memory and a real SQLite file."""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.web import WebServer
from presence.address import Address
from presence.composition import compose
from presence.edge.accounts import AccountSettings, open_accounts
from presence.edge.archive import SqlArchive
from presence.edge.sql import SqlStore
from presence.edge.uploads import DirectoryUploads
from presence.history import History
from presence.memory import MemoryBus
from presence.messages import Delivery, InstantMessage
from presence.model import PresenceDocument, PresenceTuple, Source, Text
from presence.ports import (
    AccountChanged,
    Accounts,
    Deliver,
    Endpoint,
    EndpointKind,
    Failed,
    Guard,
    Lease,
    NodeInfo,
    SourceWrite,
    Update,
)
from presence.service import PresenceService
from presence.subscriptions import Act
from sip.edge.door import SipDoor
from sip.settings import SipSettings
from tests.support.sipclient import Phone
from tests.support.stores import new_store
from xmpp.settings import UploadSettings

DOMAIN = "example.org"
NEIGHBOUR = "irc.example.org"
"A component's domain."
ALICE, BOB, CAROL = (Address(name, DOMAIN) for name in ("alice", "bob", "carol"))
"Alice has an XMPP client, bob and carol only phones."
PASSWORD = "secret"
FILES = UploadSettings(max_size=100_000, quota=250_000)


class Tally:
    """Counts as the metrics port has it."""

    def __init__(self) -> None:
        self.counts: dict[str, float] = {}

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        key = ":".join((name, *labels.values()))
        self.counts[key] = self.counts.get(key, 0) + amount

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        self.counts[name] = value


class House:
    """The door under test, node `sip-1` unless said otherwise, and the other side of the bus played by the
    test as node `xmpp-1`."""

    def __init__(
        self,
        store: SqlStore,
        accounts: Accounts,
        bus: MemoryBus,
        folder: Path,
        guard: Guard | None = None,
        policy: str = "allow",
        node: str = "sip-1",
    ) -> None:
        self.node = node
        self.policy = policy
        self.polite = True
        "Who is blocked is not told so."
        self.keeps = True
        "There is an archive."
        self.store = store
        self.accounts = accounts
        self.bus = bus
        self.folder = folder
        self.guard = guard
        self.metrics = Tally()
        self.other = self.service("xmpp-1", "i1")
        self.door: SipDoor | None = None
        self.web: WebServer | None = None
        self.life = 0
        self.phones: list[Phone] = []
        self._pump: asyncio.Task[None] | None = None
        self.ports: dict[str, int] = {}

    def service(self, node: str, incarnation: str) -> PresenceService:
        return PresenceService(
            node=node,
            incarnation=incarnation,
            domains=frozenset({DOMAIN}),
            neighbours=frozenset({NEIGHBOUR}),
            bus=self.bus,
            store=self.store,
            accounts=self.accounts,
            metrics=self.metrics,
            clock=time.time,
            guard=self.guard,
            phone_policy=self.policy,
            polite=self.polite,
            history=History(self.bus, SqlArchive(self.store.database), self.store) if self.keeps else None,
        )

    # --- the door's life ------------------------------------------------------------------------

    async def start(self, host: str = "[::]", **settings: Any) -> None:
        """A new incarnation, on the ports of the one before."""
        self.life += 1
        service = self.service(self.node, f"i{self.life}")
        now = time.time()
        await self.bus.join(
            NodeInfo(name=self.node, role="sip", incarnation=f"i{self.life}", started=now, beat=now)
        )
        await self.bus.sweep(self.node, f"i{self.life}", now)
        chosen = {f"listen_{name}": (f"{host}:{self.ports.get(name, 0)}",) for name in ("udp", "tcp", "tls")}
        self.door = SipDoor(
            SipSettings(**{"min_expires": 2, "notify_interval": 0, **chosen, **settings}),
            domains=(DOMAIN,),
            service=service,
            accounts=self.accounts,
            metrics=self.metrics,
            certificate=self.folder / "cert.pem",
            key=self.folder / "key.pem",
            vapid_key=self.folder / "key.pem",
            uploads=DirectoryUploads(self.folder / "uploads", FILES),
            files={DOMAIN: "https://files.example.org"},
        )
        self.web = WebServer(
            self.door.routes(),
            plain=[f"127.0.0.1:{self.ports.get('ws', 0)}"],
            max_message=self.door.max_message,
        )
        await self.door.start()
        await self.web.start()
        self.ports = {one.transport: one.port for one in self.door.listening}
        self.ports["ws"] = self.web.listening[0][2]
        self._pump = asyncio.create_task(self._deliver(self.door, service))

    async def _deliver(self, door: SipDoor, service: PresenceService) -> None:
        while True:
            for envelope in await self.bus.receive(self.node, 0.1):
                if isinstance(envelope, AccountChanged):
                    service.forget(envelope.address)
                door.receive(envelope)  # type: ignore[arg-type]
            await self.bus.maintain(time.time())

    async def stop(self) -> None:
        if self._pump is not None:
            self._pump.cancel()
        if self.door is not None:
            await self.door.stop()
        if self.web is not None:
            await self.web.stop()
        self.door = None

    @asynccontextmanager
    async def second(self, **settings: Any) -> AsyncIterator[House]:
        """Another process of the same server, `sip-2`, on ports of its own."""
        house = House(self.store, self.accounts, self.bus, self.folder, self.guard, self.policy, "sip-2")
        await house.start(**settings)
        try:
            yield house
        finally:
            await house.stop()

    # --- people ---------------------------------------------------------------------------------

    @asynccontextmanager
    async def phone(
        self, who: Address, transport: str = "udp", *, host: str = "127.0.0.1", **options: Any
    ) -> AsyncIterator[Phone]:
        options = {"password": PASSWORD, **options}
        password = options.pop("password")
        async with Phone(str(who), password, (host, self.ports[transport]), transport, **options) as phone:
            yield phone

    async def befriend(self, one: Address, other: Address) -> None:
        for a, b in ((one, other), (other, one)):
            await self.other.act(a, b, Act.SUBSCRIBE)
            await self.other.act(b, a, Act.SUBSCRIBED)

    # --- the other side of the bus --------------------------------------------------------------

    async def desk(self, who: Address, *, name: str = "desk", **fields: Any) -> None:
        """An XMPP client of theirs is there, in some state."""
        source = Source(id=f"xmpp:{name}", tuples=(PresenceTuple(id=name, **fields),))
        lease = Lease(owner="xmpp-1/i1")
        endpoint = Endpoint(id=f"xmpp:{name}", kind=EndpointKind.XMPP, node="xmpp-1", lease=lease)
        await self.other.publish(
            who, Update(put_sources=(SourceWrite(source=source, lease=lease),), put_endpoints=(endpoint,))
        )

    async def leave(self, who: Address, name: str = "desk") -> None:
        await self.other.publish(
            who, Update(drop_sources=(f"xmpp:{name}",), drop_endpoints=(f"xmpp:{name}",))
        )

    async def say(self, sender: Address, recipient: Address, text: str, **fields: Any) -> None:
        given: dict[str, Any] = {"bodies": (Text(text),), "sender_endpoint": "xmpp:desk", **fields}
        await self.other.submit(
            InstantMessage(id="", trace="", created=0.0, sender=sender, recipient=recipient, **given)
        )

    async def heard(self) -> list[InstantMessage]:
        """What the client's node has been given; taken as delivered."""
        messages = [e.message for e in self.bus.drain("xmpp-1") if isinstance(e, Deliver)]
        for message in messages:
            await self.other.settle(message, "xmpp:desk", Delivery.DELIVERED)
        return messages

    async def failure(self) -> Failed:
        """The next failure the client's node is told of."""
        async with asyncio.timeout(30):
            while True:
                for envelope in await self.bus.receive("xmpp-1", 1.0):
                    if isinstance(envelope, Failed):
                        return envelope

    async def seen(self, who: Address) -> PresenceDocument:
        """What a watcher may see of them now."""
        (snapshot,) = await self.other.snapshots([who])
        return compose(snapshot)

    async def until_seen(self, who: Address, *, online: bool) -> PresenceDocument:
        await self.other.watch([who])
        async with asyncio.timeout(30):
            while (document := await self.seen(who)).online != online:
                await self.bus.receive("xmpp-1", 0.05)
        return document

    async def waiting(self, who: Address) -> list[dict[str, str]]:
        """Endpoint states of each message that waits for them."""
        return [m["endpoints"] for m in (await self.bus.inspect(who, time.time()))["pending"]]


@asynccontextmanager
async def open_house(
    folder: Path,
    guard: Guard | None = None,
    bus: MemoryBus | None = None,
    policy: str = "allow",
    **settings: Any,
) -> AsyncIterator[House]:
    store = await new_store(folder / "tandem.db", people)
    accounts = open_accounts(AccountSettings(), store)
    certify(folder)
    house = House(store, accounts, bus or MemoryBus(), folder, guard, policy)
    await house.start(**settings)
    try:
        yield house
    finally:
        await house.stop()
        await accounts.close()
        await store.close()


async def people(store: SqlStore) -> None:
    accounts = open_accounts(AccountSettings(), store)
    for address in (ALICE, BOB, CAROL):
        await accounts.add(address, PASSWORD)
    await accounts.seen_on_xmpp(ALICE)
    await accounts.close()


def certify(folder: Path) -> None:
    """A self-signed certificate for example.org."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, DOMAIN)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(private, hashes.SHA256())
    )
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(pem)
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
