"""The stage journeys are played on: one running gateway, fresh people, their phones and clients."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from presence.address import Address, parse_address
from presence.edge.accounts import AccountSettings, open_accounts
from presence.edge.sql import SqlStore
from presence.ports import Accounts, RosterChange, Store
from presence.subscriptions import RosterItem, Subscription
from tests.support.sipclient import Phone
from tests.support.tandem import DOMAIN, Tandem
from tests.support.xmppclient import Client
from tests.support.xmppwire import RawStream

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Person:
    """An account."""

    address: str
    password: str


class Stage:
    """`host` is the loopback address its phones and clients connect to."""

    def __init__(self, tandem: Tandem, accounts: Accounts, store: Store, host: str) -> None:
        self.tandem = tandem
        self.accounts = accounts
        self.store = store
        self.host = host

    def over(self, host: str) -> Stage:
        """The same, reached at another loopback address."""
        return Stage(self.tandem, self.accounts, self.store, host)

    async def person(self, name: str, *, phone_only: bool = False) -> Person:
        """A new account nobody used before: `alice-7@tandem.test`."""
        person = Person(f"{name}-{next(_numbers)}@{DOMAIN}", f"secret-of-{name}")
        address = parse_address(person.address)
        await self.accounts.add(address, person.password)
        if not phone_only:
            await self.accounts.seen_on_xmpp(address)
        return person

    async def befriend(self, one: Person, other: Person) -> None:
        """Both see each other and list each other."""
        a, b = parse_address(one.address), parse_address(other.address)

        def change(owner: Address, contact: Address) -> RosterChange:
            previous = RosterItem(contact=contact)
            item = RosterItem(contact=contact, subscription=Subscription.BOTH, listed=True)
            return RosterChange(owner=owner, previous=previous, item=item)

        await self.store.save([change(a, b), change(b, a)])

    async def friends(self, *names: str) -> list[Person]:
        """New people, each the friend of every other."""
        people = [await self.person(name) for name in names]
        for one, other in itertools.combinations(people, 2):
            await self.befriend(one, other)
        return people

    def phone(self, person: Person, transport: str = "udp", **options: Any) -> Phone:
        port = self.tandem.sips_port if transport == "tls" else self.tandem.sip_port
        return Phone(person.address, person.password, (self.host, port), transport, **options)

    def client(self, person: Person, resource: str = "desk", **options: Any) -> Client:
        port = self.tandem.xmpps_port if options.get("direct_tls") else self.tandem.xmpp_port
        return Client(person.address, person.password, (self.host, port), resource, **options)

    def raw(self, *, direct_tls: bool = False) -> RawStream:
        port = self.tandem.xmpps_port if direct_tls else self.tandem.xmpp_port
        return RawStream((self.host, port), DOMAIN, direct_tls=direct_tls)


@asynccontextmanager
async def open_stage(tandem: Tandem, host: str) -> AsyncIterator[Stage]:
    """Start a gateway, and reach its accounts and rosters beside it, as an operator's script would."""
    await tandem.start()
    store = SqlStore(
        tandem.environment.get("TANDEM_STORE__URL")
        or f"sqlite+aiosqlite:///{tandem.directory}/state/tandem.sqlite"
    )
    accounts = open_accounts(AccountSettings(), store)
    try:
        yield Stage(tandem, accounts, store, host)
    finally:
        await accounts.close()
        await store.close()
        await tandem.stop()
