"""Servers without sockets: routers on one bus in memory, and clients that keep what they are sent."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from presence.address import Address, parse_address
from presence.edge.accounts import AccountSettings, open_accounts
from presence.edge.archive import SqlArchive
from presence.edge.room_store import SqlRooms
from presence.edge.sql import SqlStore
from presence.history import History
from presence.memory import MemoryBus
from presence.ports import AccountChanged, Accounts, Inquiry, NodeInfo, RosterChange
from presence.rooms.memory import MemoryRooms
from presence.rooms.service import Rooms
from presence.rooms.settings import RoomSettings
from presence.service import PresenceService
from presence.subscriptions import RosterItem, Subscription
from tests.support.stores import add_person, new_store
from xmpp.edge.runtime import LoopRuntime
from xmpp.element import CLIENT_NS, E, Element
from xmpp.errors import StreamError
from xmpp.reader import parse_fragment
from xmpp.router import XmppRouter
from xmpp.runtime import Timer
from xmpp.session import Session
from xmpp.settings import XmppSettings

DOMAIN = "example.org"


class Silence:
    """Metrics nobody reads."""

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None: ...

    def gauge(self, name: str, value: float, /, **labels: str) -> None: ...


@dataclass(slots=True)
class Alarm:
    at: float
    callback: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


class WatchedRuntime(LoopRuntime):
    """One whose work can be waited for, and whose time is the test's."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(Silence())
        self._clock = clock
        self.timers: list[Alarm] = []

    def now(self) -> float:
        return self._clock()

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        alarm = Alarm(self._clock() + delay, callback)
        self.timers.append(alarm)
        return alarm

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)

    def ring(self) -> None:
        """Call what is due."""
        now = self._clock()
        due = [alarm for alarm in self.timers if alarm.at <= now]
        self.timers = [alarm for alarm in self.timers if alarm.at > now]
        for alarm in due:
            if not alarm.cancelled:
                alarm.callback()

    async def idle(self) -> bool:
        """Wait for all that is under way; False when nothing was."""
        busy = bool(self._tasks)
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        return busy


class Client:
    """A client behind no socket. `Outbound` on one side, what a user does on the other."""

    def __init__(self, scene: Scene, session: Session | None = None) -> None:
        self.scene = scene
        self._session = session
        self.raw: list[bytes] = []
        self.ended: StreamError | None = None
        self.reading = True
        "False: the socket takes nothing."
        self.charged = 0

    @property
    def session(self) -> Session:
        assert self._session is not None
        return self._session

    # Outbound

    def send(self, data: bytes) -> None:
        self.raw.append(data)

    def pending(self) -> int:
        return 0 if self.reading else 1 + sum(map(len, self.raw))

    def charge(self, size: int) -> None:
        self.charged += size

    def close(self, error: StreamError | None) -> None:
        self.ended = error

    peer = "test"

    def info(self) -> dict[str, Any]:
        return {"peer": self.peer}

    # the user

    @property
    def jid(self) -> str:
        return self.session.jid.full

    async def say(self, *stanzas: Element) -> None:
        """Send stanzas in one packet and let everything happen that follows."""
        for stanza in stanzas:
            stanza.attrs["from"] = self.jid
            await self.session.receive(stanza)
        await self.scene.settle()

    async def say_raw(self, element: Element) -> None:
        """Send something that is no stanza."""
        await self.session.receive(element)
        await self.scene.settle()

    async def here(self, *children: Element, **attrs: str) -> None:
        await self.say(E("presence", CLIENT_NS, attrs, *children))

    async def log_in(self) -> None:
        """What clients do: ask for the roster, be available; and forget what came."""
        await self.ask("get", E("query", "jabber:iq:roster"))
        await self.here()
        self.heard()

    async def message(self, to: str, text: str = "", *children: Element, **attrs: str) -> None:
        body = [E("body", CLIENT_NS, {}, text)] if text else []
        await self.say(E("message", CLIENT_NS, {"type": "chat", "to": to, **attrs}, *body, *children))

    async def ask(self, kind: str, payload: Element, to: str = "") -> Element:
        """An IQ and its answer; what else came is kept."""
        number = f"q{next(self.scene.numbers)}"
        attrs = {"type": kind, "id": number} | ({"to": to} if to else {})
        await self.say(E("iq", CLIENT_NS, attrs, payload))
        rest, answer = [], None
        for data in self.raw:
            (stanza,) = _read(data)
            if stanza.name == "iq" and stanza.get("id") == number and stanza.get("type") != kind:
                answer = stanza
            else:
                rest.append(data)
        self.raw = rest
        assert answer is not None, "no answer"
        return answer

    def heard(self, name: str = "") -> list[Element]:
        """What was sent to the client since it was last asked for."""
        taken, self.raw = self.raw, []
        stanzas = [stanza for data in taken for stanza in _read(data)]
        return [s for s in stanzas if not name or s.name == name]

    def heard_but_keep(self, name: str) -> list[Element]:
        """As `heard`, and it will be heard again."""
        return [stanza for data in self.raw for stanza in _read(data) if stanza.name == name]

    async def gone(self, reason: str = "lost") -> None:
        await self.session.closed(reason)
        await self.scene.settle()


def _read(data: bytes) -> list[Element]:
    (wrapper,) = parse_fragment(b"<x xmlns='jabber:client'>" + data + b"</x>")
    return wrapper.elements


class Scene:
    def __init__(self, bus: MemoryBus, store: SqlStore, accounts: Accounts, clock: Clock) -> None:
        self.bus = bus
        self.store = store
        self.accounts = accounts
        self.clock = clock
        self.rooms = MemoryRooms(bus, clock)
        self.room_settings = RoomSettings()
        self.numbers = itertools.count(1)
        self.nodes: dict[str, XmppRouter] = {}
        self.runtimes: dict[str, WatchedRuntime] = {}

    async def node(self, name: str, **settings: Any) -> XmppRouter:
        """The server process of that name."""
        if name not in self.nodes:
            rooms = Rooms(
                node=name,
                owner=f"{name}/i1",
                policy=self.room_settings.policy(frozenset({DOMAIN}), archive=True),
                bus=self.rooms,
                store=SqlRooms(self.store.database),
                clock=self.clock,
                secret=lambda: b"0123456789abcdef",
                lock=asyncio.Lock,
            )
            service = PresenceService(
                node=name,
                incarnation="i1",
                domains=frozenset({DOMAIN}),
                neighbours=frozenset(each["domain"] for each in settings.get("components", ())),
                bus=self.bus,
                store=self.store,
                accounts=self.accounts,
                metrics=Silence(),
                clock=self.clock,
                history=History(self.bus, SqlArchive(self.store.database), self.store),
                rooms=rooms,
            )
            info = NodeInfo(name=name, role="xmpp", incarnation="i1", started=self.clock(), beat=self.clock())
            await self.bus.join(info)
            runtime = self.runtimes[name] = WatchedRuntime(self.clock)
            self.nodes[name] = XmppRouter(
                XmppSettings(**{"ping_interval": 0, **settings}), service, self.accounts, Silence(), runtime
            )
        return self.nodes[name]

    async def connect(self, user: str, resource: str = "desk", node: str = "xmpp-1") -> Client:
        router = await self.node(node)
        client = Client(self)
        session = await router.bind(address(user), resource, client, "en")
        client._session = session
        await self.settle()
        return client

    async def online(self, user: str, resource: str = "desk", node: str = "xmpp-1") -> Client:
        client = await self.connect(user, resource, node)
        await client.log_in()
        return client

    async def online_and_hear(self, user: str, resource: str = "desk") -> Client:
        """As `online`; what came meanwhile is kept."""
        client = await self.connect(user, resource)
        await client.here()
        return client

    async def settle(self) -> None:
        """Until nothing is under way, in any process or on the bus between them."""
        busy = True
        while busy:
            busy = False
            for name, router in self.nodes.items():
                busy |= await self.runtimes[name].idle()
                for envelope in await self.bus.receive(name, 0):
                    assert not isinstance(envelope, Inquiry)
                    if isinstance(envelope, AccountChanged):  # as `gateway.node` does
                        router.service.forget(envelope.address)
                    router.receive(envelope)
                    busy = True
            for router in self.nodes.values():
                for session in list(router.all_sessions()):
                    outbound = session.outbound
                    if outbound is not None and not outbound.pending():
                        session.flushed()
            busy |= any(runtime._tasks for runtime in self.runtimes.values())
            busy |= any(self.bus._inboxes.get(name) for name in self.nodes)

    async def wait(self, seconds: float) -> None:
        """Time passes."""
        self.clock.now += seconds
        for runtime in self.runtimes.values():
            runtime.ring()
        await self.settle()

    async def people(self, *users: str) -> None:
        for user in users:
            await add_person(self.store, address(user), "secret", self.accounts)

    async def roster(self, user: str, contact: str, subscription: Subscription) -> None:
        """User's item for contact, as it were from long ago."""
        item = RosterItem(contact=address(contact), subscription=subscription, listed=True)
        previous = RosterItem(contact=address(contact))
        await self.store.save([RosterChange(owner=address(user), previous=previous, item=item)])

    async def friends(self, *users: str) -> None:
        await self.people(*users)
        for one, other in itertools.permutations(users, 2):
            await self.roster(one, other, Subscription.BOTH)


def address(user: str) -> Address:
    return parse_address(f"{user}@{DOMAIN}")


def bare(user: str) -> str:
    return f"{user}@{DOMAIN}"


class Clock:
    """Time that passes when the test says so, and by a millisecond at every look."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


@asynccontextmanager
async def scene(directory: Path) -> AsyncIterator[Scene]:
    clock = Clock()
    store = await new_store(directory / "tandem.db")
    accounts = open_accounts(AccountSettings(), store)
    try:
        yield Scene(MemoryBus(clock=clock), store, accounts, clock)
    finally:
        await accounts.close()
        await store.close()
