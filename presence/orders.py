"""Standing orders: what a person has answered beforehand to whoever asks to see them (the rules of RFC 5025
that name nobody in particular).

Who is named has their answer in the roster or the blocklist. Orders are asked only when somebody new comes,
and go before the policy for people who have only a phone (`presence.policy`).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

import msgspec

from presence.address import Address
from presence.ports import AccountChanged, Bus, KeptStore
from presence.subscriptions import Act

COLLECTION = "standing orders"
CACHE_SECONDS = 30.0
"A change is told to all processes; this is for the one that misses it."
CACHE_SIZE = 50_000
MAX_ORDERS = 200


class Handling(IntEnum):
    """RFC 5025 §3.2.1: the highest of all that match counts."""

    BLOCK = 0
    CONFIRM = 10
    POLITE_BLOCK = 20
    ALLOW = 30


class Order(msgspec.Struct, frozen=True, array_like=True):
    """One answer, to many."""

    handling: Handling
    domain: str = ""
    "Everybody of it; empty: everybody."
    but: tuple[str, ...] = ()
    "Addresses and domains it does not concern."

    def concerns(self, watcher: Address) -> bool:
        if self.domain and self.domain != watcher.domain:
            return False
        return str(watcher) not in self.but and watcher.domain not in self.but


_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.Decoder(tuple[Order, ...]).decode


def handling(orders: tuple[Order, ...], watcher: Address) -> Handling:
    """Whom no order concerns is refused (RFC 5025 §3.2.1)."""
    return max((order.handling for order in orders if order.concerns(watcher)), default=Handling.BLOCK)


def answered(orders: tuple[Order, ...], watcher: Address) -> Act | None:
    """What the server answers in the owner's place; None: the owner is asked."""
    match handling(orders, watcher):
        case Handling.ALLOW:
            return Act.SUBSCRIBED
        case Handling.CONFIRM:
            return None
        case _:
            return Act.UNSUBSCRIBED


class StandingOrders:
    """Everybody's, with a cache."""

    def __init__(self, store: KeptStore, bus: Bus, clock: Callable[[], float]) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock
        self._cache: dict[Address, tuple[float, tuple[Order, ...] | None]] = {}

    async def of(self, owner: Address) -> tuple[Order, ...] | None:
        """None where there are none: then the policy answers."""
        cached, now = self._cache.get(owner), self._clock()
        if cached is not None and cached[0] > now:
            return cached[1]
        kept = await self._store.kept(owner, COLLECTION, "")
        found = _decode(kept[0].data) if kept else None
        if len(self._cache) >= CACHE_SIZE:
            self._cache.clear()
        self._cache[owner] = now + CACHE_SECONDS, found
        return found

    async def give(self, owner: Address, orders: tuple[Order, ...] | None) -> None:
        """None: take them all back."""
        if orders == await self.of(owner):
            return
        if orders is None:
            await self._store.discard(owner, COLLECTION)
        else:
            await self._store.keep(owner, COLLECTION, "", _encode(orders[:MAX_ORDERS]), 1)
        self.forget(owner)
        await self._bus.broadcast(AccountChanged(address=owner))

    def forget(self, owner: Address) -> None:
        """They changed, perhaps in another process."""
        self._cache.pop(owner, None)
