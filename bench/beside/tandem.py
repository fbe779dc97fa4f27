"""Ourselves: archive, carbons and stream management on, as they are by default."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bench.beside.contender import DOMAIN, PASSWORD, Contender
from presence.address import Address
from presence.edge.accounts import AccountSettings, open_accounts
from presence.edge.sql import SqlStore
from presence.ports import RosterChange
from presence.subscriptions import RosterItem, Subscription
from tests.support.tandem import Tandem


class TandemContender(Contender):
    name = "Tandem"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._tandem = Tandem(
            folder, DOMAINS=DOMAIN, SIP__NOTIFY_INTERVAL="0", LOG__LEVEL="warning", SIP__MAX_DIALOGS="100000"
        )
        self.xmpp, self.sip = self._tandem.xmpp_port, self._tandem.sip_port
        self._store = SqlStore(f"sqlite+aiosqlite:///{folder}/state/tandem.sqlite")
        self._accounts = open_accounts(AccountSettings(), self._store)

    async def start(self) -> None:
        await self._tandem.start()

    async def stop(self) -> None:
        await self._accounts.close()
        await self._store.close()
        await self._tandem.stop()

    def printed(self) -> str:
        return self._tandem.logged(20)

    def pids(self) -> list[int]:
        return [self._tandem.supervisor, *self._tandem.pids().values()]

    async def add(self, names: Iterable[str]) -> None:
        for name in names:
            address = Address(name, DOMAIN)
            await self._accounts.add(address, PASSWORD)
            await self._accounts.seen_on_xmpp(address)

    async def befriend(self, one: str, others: Iterable[str]) -> None:
        pairs = [(Address(one, DOMAIN), Address(other, DOMAIN)) for other in others]
        changes = [change for a, b in pairs for change in (_change(a, b), _change(b, a))]
        await self._store.save(changes)


def _change(owner: Address, contact: Address) -> RosterChange:
    item = RosterItem(contact=contact, subscription=Subscription.BOTH, listed=True)
    return RosterChange(owner=owner, previous=RosterItem(contact=contact), item=item)
