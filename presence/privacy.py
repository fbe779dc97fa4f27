"""What rules show of a person to whom (the transformations of RFC 5025 §3.3): the same on both doors.

Whether somebody sees anything at all is the roster's affair; these rules take away from what is seen. Nearly
everybody has none. Those of a person are compiled from what a phone wrote (`sip.xcap.rules`), kept in the
store, and looked up wherever their presence is shown (`presence.watching`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from functools import reduce
from typing import Any

import msgspec
from msgspec.structs import replace

from presence.address import Address
from presence.model import Person, PresenceDocument, PresenceTuple
from presence.orders import Handling, Order
from presence.ports import AccountChanged, Bus, KeptStore

COLLECTION = "privacy"
CACHE_SECONDS = 30.0
"A change is told to all processes; this is for the one that misses it."
CACHE_SIZE = 50_000

ALL = "*"
"Every service or person; every attribute, also those nobody here knows."
PERSON = "person"
"The id of the one person in a document."
CAPABILITIES, TIMED, SHOW = "capabilities", "timed", "show"
"Attributes RFC 5025 has no permission of its own for."
ALWAYS = frozenset(("service-class",))
"What else RPID says of a service that has no permission either, and is always shown (§3.3.2)."

Selectors = frozenset[tuple[str, str]]
"Kind and value: `class`, `id`, or `*`, which is all of them."
EVERY: Selectors = frozenset(((ALL, ""),))


class UserInput(IntEnum):
    """How much of when somebody was last at the keys (§3.3.2.12)."""

    FALSE = 0
    BARE = 10
    THRESHOLDS = 20
    FULL = 30


class Permissions(msgspec.Struct, frozen=True, array_like=True):
    """What one watcher is provided with."""

    services: Selectors = frozenset()
    persons: Selectors = frozenset()
    attributes: frozenset[str] = frozenset()
    "RPID's names, `note`, and those above."
    user_input: UserInput = UserInput.FALSE
    without: frozenset[str] = frozenset()
    "Ids of services that the watcher does not want to see (XEP-0191)."

    @property
    def whole(self) -> bool:
        """Nothing is taken away."""
        return self == EVERYTHING

    def __or__(self, other: Permissions) -> Permissions:
        """What several rules grant together (RFC 4745 §10.1)."""
        services, persons = self.services | other.services, self.persons | other.persons
        attributes = self.attributes | other.attributes
        return Permissions(
            EVERY if services >= EVERY else services,
            EVERY if persons >= EVERY else persons,
            frozenset((ALL,)) if ALL in attributes else attributes,
            UserInput.FULL if ALL in attributes else max(self.user_input, other.user_input),
        )

    def provides(self, attribute: str) -> bool:
        return attribute in self.attributes or ALL in self.attributes


NOTHING = Permissions()
EVERYTHING = Permissions(EVERY, EVERY, frozenset((ALL,)), UserInput.FULL)


class Grant(msgspec.Struct, frozen=True, array_like=True):
    """One rule: whom it is for, and what it provides them with."""

    handling: Handling
    permissions: Permissions
    names: tuple[str, ...] = ()
    "Addresses it is for."
    many: tuple[Order, ...] = ()
    "Or all that one of these concerns; their handling is the rule's."
    others: bool = False
    "Or whom no other rule is for."


class Rules:
    """All of a person's, compiled."""

    def __init__(self, grants: Sequence[Grant]) -> None:
        self._many = [grant for grant in grants if grant.many]
        self._others = [grant for grant in grants if grant.others]
        self._named: dict[str, list[Grant]] = {}
        for grant in grants:
            for name in grant.names:
                self._named.setdefault(name, []).append(grant)

        self.narrow = any(not g.permissions.whole for g in grants if g.handling is Handling.ALLOW)
        "Somebody who is allowed may not see all."

    def _matching(self, watcher: Address) -> list[Grant]:
        found = list(self._named.get(str(watcher), ()))
        found += [grant for grant in self._many if any(each.concerns(watcher) for each in grant.many)]
        return found or self._others

    def polite(self, watcher: Address) -> bool | None:
        """Somebody who is blocked is not to know it (§3.2.1); None: the rules do not say."""
        highest = max((grant.handling for grant in self._matching(watcher)), default=None)
        return (
            {Handling.BLOCK: False, Handling.POLITE_BLOCK: True}.get(highest) if highest is not None else None
        )

    def permissions(self, watcher: Address) -> Permissions | None:
        """None: all may be seen. So it is for those whom the rules do not allow: whoever sees something all
        the same was allowed without them, and for that the server writes a rule that shows all."""
        matching = self._matching(watcher)
        if not matching or max(grant.handling for grant in matching) is not Handling.ALLOW:
            return None
        united = reduce(Permissions.__or__, (grant.permissions for grant in matching))
        return None if united.whole else united


def seen(document: PresenceDocument, permissions: Permissions | None) -> PresenceDocument:
    """What is left of a document for a watcher. Seen so once more it is the same (RFC 5025 §4)."""
    if permissions is None:
        return document
    tuples = tuple(
        _service(each, permissions)
        for each in document.tuples
        if each.id not in permissions.without and _selected(permissions.services, each.id, each.rich)
    )
    # Who is there unseen did not leave at any time.
    unseen = bool(document.tuples) and not tuples
    last_seen = document.last_seen if permissions.services and not unseen else None
    if last_seen is not None and not permissions.provides("note"):
        last_seen = replace(last_seen, notes=())
    person = document.person
    if person is not None and not _selected(permissions.persons, PERSON, person.rich):
        person = None
    return replace(
        document,
        tuples=tuples,
        person=_person(person, permissions) if person is not None else None,
        last_seen=last_seen,
        person_hidden=person is None and permissions.persons != EVERY,
    )


def _selected(selectors: Selectors, name: str, rich: tuple[tuple[str, str], ...]) -> bool:
    if selectors >= EVERY or ("id", name) in selectors:
        return True
    return any(key == "class" and ("class", value) in selectors for key, value in rich)


def _service(each: PresenceTuple, permissions: Permissions) -> PresenceTuple:
    provides = permissions.provides
    changed: dict[str, Any] = {
        "rich": _rich(each.rich, permissions),
        "idle_since": _idle(each.idle_since, permissions),
    }
    if not provides("note"):
        changed["notes"] = ()
    if not (provides(SHOW) or provides("activities")):
        changed["show"] = None
    if not provides(CAPABILITIES):
        changed["capabilities"] = None
    if not provides(TIMED):
        changed["timed"] = ()
    if not provides(ALL):
        changed["opaque"] = dict.fromkeys(each.opaque, b"")
    return replace(each, **changed)


def _person(person: Person, permissions: Permissions) -> Person:
    changed: dict[str, Any] = {
        "rich": _rich(person.rich, permissions),
        "idle_since": _idle(person.idle_since, permissions),
    }
    if not permissions.provides("activities"):
        changed |= {"activities": (), "ringing": False}
    if not permissions.provides("mood"):
        changed["mood"] = ()
    if not permissions.provides("note"):
        changed["notes"] = ()
    return replace(person, **changed)


def _rich(rich: tuple[tuple[str, str], ...], permissions: Permissions) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in rich if name in ALWAYS or permissions.provides(name))


def _idle(since: float | None, permissions: Permissions) -> float | None:
    """There are no thresholds here, so those alone are no more than that somebody is idle."""
    if since is None or permissions.user_input is UserInput.FALSE:
        return None
    return since if permissions.user_input is UserInput.FULL else 0.0


_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_decode = msgspec.msgpack.Decoder(tuple[Grant, ...]).decode


class Privacy:
    """Everybody's, with a cache."""

    def __init__(self, store: KeptStore, bus: Bus, clock: Callable[[], float]) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock
        self._cache: dict[Address, tuple[float, Rules | None]] = {}

    async def of(self, owners: Sequence[Address]) -> dict[Address, Rules]:
        """Those of whoever has any. Raises `Unavailable`."""
        now = self._clock()
        known = {owner: self._cache[owner][1] for owner in owners if self._cache.get(owner, (0.0,))[0] > now}
        unknown = [owner for owner in owners if owner not in known]
        if unknown:
            kept = await self._store.kept_by(unknown, COLLECTION, [""])
            if len(self._cache) + len(unknown) > CACHE_SIZE:
                self._cache.clear()
            for owner in unknown:
                found = kept.get((owner, ""))
                rules = known[owner] = Rules(_decode(found.data)) if found is not None else None
                self._cache[owner] = now + CACHE_SECONDS, rules
        return {owner: rules for owner, rules in known.items() if rules is not None}

    async def give(self, owner: Address, grants: Sequence[Grant]) -> None:
        """From now on these alone hold; every node hears `AccountChanged`. None at all: everything is
        shown."""
        data = _encode(tuple(grants))
        before = await self._store.kept(owner, COLLECTION, "")
        if (before[0].data if before else _encode(())) == data:
            return
        if grants:
            await self._store.keep(owner, COLLECTION, "", data, 1)
        else:
            await self._store.discard(owner, COLLECTION)
        self.forget(owner)
        await self._bus.broadcast(AccountChanged(address=owner))

    def forget(self, owner: Address) -> None:
        """They changed, perhaps in another process."""
        self._cache.pop(owner, None)
