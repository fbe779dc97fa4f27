"""Whom people block: one table for both doors (XEP-0191; the `block` of RFC 5025 §3.2).

Blocking is polite: nothing is cancelled, the one who is blocked sees somebody who is not there. While it
lasts neither sees the other; the doors are told as if both authorisations were gone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from presence.address import Address
from presence.errors import Condition, Refused
from presence.ports import AccountChanged, AuthorisationChanged, Bus, Store
from presence.subscriptions import RosterItem

MAX_BLOCKED = 1000
"Entries of one blocklist."
CACHE_SECONDS = 30.0
"A change is told to all processes; this is for the one that misses it."
CACHE_SIZE = 50_000


@dataclass(frozen=True, slots=True)
class Blocklist:
    """`local@domain/resource`, `local@domain`, `domain/resource` or `domain`, canonical."""

    names: tuple[str, ...] = ()
    _index: frozenset[str] = field(init=False, repr=False, compare=False)
    "The same, to look into: each message does."
    single: dict[str, frozenset[str]] = field(init=False, repr=False, compare=False)
    "Address or domain → resources that are blocked alone."

    def __post_init__(self) -> None:
        object.__setattr__(self, "_index", frozenset(self.names))
        single: dict[str, frozenset[str]] = {}
        for name in self.names:
            whose, _, resource = name.partition("/")
            if resource:
                single[whose] = single.get(whose, frozenset()) | {resource}
        object.__setattr__(self, "single", single)

    def resources(self, other: Address) -> frozenset[str]:
        """Those that are blocked alone."""
        if not self.single:
            return frozenset()
        return self.single.get(str(other), frozenset()) | self.single.get(other.domain, frozenset())

    def covers(self, other: Address, resource: str = "") -> bool:
        """In XEP-0191 §5's order; without a resource, only what covers all of them."""
        names = self._index
        if not names:
            return False
        bare, domain = str(other), other.domain
        if bare in names or domain in names:
            return True
        return bool(resource) and (f"{bare}/{resource}" in names or f"{domain}/{resource}" in names)


NOBODY = Blocklist()


class Blocking:
    """Blocklists, with a cache: every message asks for its recipient's."""

    def __init__(self, store: Store, bus: Bus, clock: Callable[[], float]) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock
        self._cache: dict[Address, tuple[float, Blocklist]] = {}
        self._changes = 0
        "Lists that changed: what was read meanwhile may be what they were."

    async def of(self, owner: Address) -> Blocklist:
        cached = self._cache.get(owner)
        now = self._clock()
        if cached is not None and cached[0] > now:
            return cached[1]
        changes = self._changes
        names = await self._store.blocklist(owner)
        found = Blocklist(tuple(names)) if names else NOBODY
        if len(self._cache) >= CACHE_SIZE:
            self._cache.clear()
        self._cache[owner] = (now + CACHE_SECONDS if changes == self._changes else 0.0), found
        return found

    def known(self, owner: Address) -> Blocklist | None:
        """The list as it was read last, for those who cannot wait; None when it never was."""
        cached = self._cache.get(owner)
        return cached[1] if cached is not None else None

    async def blocks(self, owner: Address, other: Address, resource: str = "") -> bool:
        """Nobody blocks oneself, whatever the list says."""
        if owner == other:
            return False
        cached = self._cache.get(owner)
        if cached is not None and cached[0] > self._clock():
            return cached[1] is not NOBODY and cached[1].covers(other, resource)
        return (await self.of(owner)).covers(other, resource)

    async def blocked_by(self, other: Address, resource: str = "") -> frozenset[Address]:
        """Everybody who blocks all of this address, or that resource of it."""
        names = (str(other), other.domain)
        alone = tuple(f"{name}/{resource}" for name in names) if resource else ()
        owners = await self._store.blockers(names + alone)
        return frozenset(owners) - {other}

    def forget(self, owner: Address) -> None:
        """The list changed, perhaps in another process."""
        self._changes += 1
        cached = self._cache.get(owner)
        if cached is not None:
            self._cache[owner] = 0.0, cached[1]

    async def block(self, owner: Address, names: Sequence[str], trace: str = "") -> None:
        """Raises `Refused` RESOURCE_CONSTRAINT (the list is full)."""
        self.forget(owner)
        before = await self.of(owner)
        if len(set(before.names) | set(names)) > MAX_BLOCKED:
            raise Refused(Condition.RESOURCE_CONSTRAINT, "the blocklist is full")
        await self._store.block(owner, [name for name in names if name not in before.names])
        await self._changed(owner, before, trace)

    async def unblock(self, owner: Address, names: Sequence[str] | None, trace: str = "") -> None:
        """None: everybody."""
        self.forget(owner)
        before = await self.of(owner)
        await self._store.unblock(owner, names)
        await self._changed(owner, before, trace)

    async def _changed(self, owner: Address, before: Blocklist, trace: str) -> None:
        self.forget(owner)
        after = await self.of(owner)
        await self._bus.broadcast(AccountChanged(address=owner))
        _, items = await self._store.roster(owner)
        for item in items:
            contact = item.contact
            was, is_ = before.covers(contact), after.covers(contact)
            alone = before.resources(contact) | after.resources(contact)
            if contact == owner or (was == is_ and (is_ or not alone)):
                continue
            _, theirs = await self._store.pair(owner, contact)
            if was != is_:
                await self._in_force(owner, item, is_, trace)
                await self._in_force(contact, theirs, is_, trace)
            for resource in sorted(alone) if not is_ else ():
                hidden = after.covers(contact, resource)
                if hidden != (not was and before.covers(contact, resource)):
                    await self._in_force(contact, theirs, hidden, trace, resource)

    async def _in_force(
        self, owner: Address, item: RosterItem, blocked: bool, trace: str, resource: str = ""
    ) -> None:
        """Tell the doors what the item is worth now: nothing, or all of it again."""
        nothing = RosterItem(contact=item.contact)
        now, previous = (nothing, item) if blocked else (item, nothing)
        change = AuthorisationChanged(
            owner=owner, contact=item.contact, item=now, previous=previous, resource=resource, trace=trace
        )
        await self._bus.tell(owner, change)
