"""Who in this process watches whom, and what they were last shown (RFC 3856 §6.8, RFC 6121 §4.4.2).

One table per door and node. Watchers are what the door delivers to: a session, a dialog. The bus sends a
presentity's snapshots to a node for as long as anybody there watches; the table says when that begins and
ends, drops what is not newer, and tells what a change consists of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from msgspec.structs import replace

from presence.address import Address
from presence.composition import compose
from presence.model import PresenceDocument, PresenceTuple, Snapshot
from presence.privacy import EVERYTHING, Permissions, Rules, seen

W = TypeVar("W", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Change:
    """From what was shown last to what is to be shown now."""

    previous: PresenceDocument | None
    "None when nothing was known before."
    current: PresenceDocument
    updated: tuple[PresenceTuple, ...]
    "Tuples that appeared, or differ from what they were; in the document's order."
    gone: tuple[PresenceTuple, ...]
    "Tuples that are no more, as they last were."

    @property
    def person_changed(self) -> bool:
        return self.current.person != (self.previous.person if self.previous else None)

    @property
    def visible(self) -> bool:
        """False when watchers who know `previous` have nothing new to see."""
        return bool(self.previous is None or self.updated or self.gone or self.person_changed)

    def seen(self, permissions: Permissions | None) -> Change:
        """As a watcher sees it who has these."""
        if permissions is None:
            return self
        previous = seen(self.previous, permissions) if self.previous is not None else None
        return difference(previous, seen(self.current, permissions))


def difference(previous: PresenceDocument | None, current: PresenceDocument) -> Change:
    before = {t.id: t for t in previous.tuples} if previous else {}
    updated = tuple(t for t in current.tuples if before.pop(t.id, None) != t)
    return Change(previous, current, updated, tuple(before.values()))


@dataclass(slots=True)
class _Watched(Generic[W]):
    watchers: dict[W, None] = field(default_factory=dict)
    document: PresenceDocument | None = None
    rules: Rules | None = None
    known: bool = False
    "Its rules are; before, nobody may be shown anything."
    waiting: Snapshot | None = None
    "The newest that came before."
    seen: dict[Permissions, PresenceDocument] = field(default_factory=dict)
    "The document, for those who may not see all of it."


class WatchTable(Generic[W]):
    """Pure; holds documents only of presentities that somebody watches."""

    __slots__ = ("_compose", "_unwanted", "_unwanting", "_watched", "_watching")

    def __init__(self, compose: Callable[[Snapshot], PresenceDocument] = compose) -> None:
        self._compose = compose
        self._watched: dict[Address, _Watched[W]] = {}
        self._watching: dict[W, set[Address]] = {}
        self._unwanting: dict[Address, Mapping[str, frozenset[str]]] = {}
        self._unwanted: Counter[str] = Counter()
        "How many do not want to see all of whom."

    def __len__(self) -> int:
        """How many presentities are watched."""
        return len(self._watched)

    def __contains__(self, presentity: Address) -> bool:
        return presentity in self._watched

    def presentities(self) -> list[Address]:
        return list(self._watched)

    def watched_by(self, watcher: W) -> list[Address]:
        return list(self._watching.get(watcher, ()))

    def watchers(self, presentity: Address) -> tuple[W, ...]:
        """In the order they came."""
        watched = self._watched.get(presentity)
        return tuple(watched.watchers) if watched else ()

    def document(self, presentity: Address) -> PresenceDocument | None:
        """What is known of it; None before its first snapshot, and when nobody watches it."""
        watched = self._watched.get(presentity)
        return watched.document if watched else None

    def seen(self, presentity: Address, by: Address) -> PresenceDocument | None:
        """What somebody may see of it; the same object for as long as it is the same."""
        watched = self._watched.get(presentity)
        if watched is None or watched.document is None:
            return None
        permissions = self.permissions(presentity, by)
        if permissions is None:
            return watched.document
        known = watched.seen.get(permissions)
        if known is None:
            known = watched.seen[permissions] = seen(watched.document, permissions)
        return known

    def restrict(self, presentity: Address, rules: Rules | None) -> Rules | None:
        """Its rules are these, from now on; None: everybody sees all of it. Returns those it had before. To
        be said before the first snapshot is shown to anybody."""
        watched = self._watched.get(presentity)
        if watched is None:
            return None
        if rules is not None and not rules.narrow:
            rules = None
        former, watched.rules, watched.known = watched.rules, rules, True
        watched.seen.clear()
        return former

    def known(self, presentity: Address) -> bool:
        """Its rules are: it may be shown."""
        watched = self._watched.get(presentity)
        return watched is not None and watched.known

    def restricted(self, presentity: Address) -> bool:
        """Not everybody sees all of it."""
        watched = self._watched.get(presentity)
        if watched is None:
            return False
        unwanted = self._unwanted
        return watched.rules is not None or bool(
            unwanted and (str(presentity) in unwanted or presentity.domain in unwanted)
        )

    def permissions(self, presentity: Address, watcher: Address) -> Permissions | None:
        """What the watcher is provided with; None: all of it."""
        watched = self._watched.get(presentity)
        if watched is None or watcher == presentity:
            return None
        found = watched.rules.permissions(watcher) if watched.rules is not None else None
        unwanted = self._unwanting.get(watcher)
        if unwanted is None:
            return found
        nothing: frozenset[str] = frozenset()
        without = unwanted.get(str(presentity), nothing) | unwanted.get(presentity.domain, nothing)
        return replace(found or EVERYTHING, without=without) if without else found

    def spare(self, watcher: Address, unwanted: Mapping[str, frozenset[str]]) -> None:
        """From now on the watcher sees nothing of these: address or domain → ids of services."""
        for whose in self._unwanting.pop(watcher, ()):
            self._unwanted[whose] -= 1
            if not self._unwanted[whose]:
                del self._unwanted[whose]
        if unwanted:
            self._unwanting[watcher] = unwanted
            self._unwanted.update(unwanted.keys())

    def spared(self, watcher: Address) -> Mapping[str, frozenset[str]]:
        """See `spare`."""
        return self._unwanting.get(watcher, {})

    def add(self, presentity: Address, watcher: W) -> bool:
        """True when it is the presentity's first watcher here: time for `service.watch`."""
        watched = self._watched.get(presentity)
        first = watched is None
        if watched is None:
            watched = self._watched[presentity] = _Watched()
        watched.watchers[watcher] = None
        self._watching.setdefault(watcher, set()).add(presentity)
        return first

    def discard(self, presentity: Address, watcher: W) -> bool:
        """True when it was the presentity's last watcher here: time for `service.unwatch`."""
        watched = self._watched.get(presentity)
        if watched is None or watcher not in watched.watchers:
            return False
        del watched.watchers[watcher]
        watching = self._watching[watcher]
        watching.discard(presentity)
        if not watching:
            del self._watching[watcher]
        if watched.watchers:
            return False
        del self._watched[presentity]
        return True

    def discard_watcher(self, watcher: W) -> list[Address]:
        """The watcher leaves altogether; returns the presentities nobody here watches any more."""
        return [p for p in sorted(self._watching.get(watcher, ())) if self.discard(p, watcher)]

    def update(self, snapshot: Snapshot) -> Change | None:
        """Take in a snapshot. None when it is not newer than what is known, or nobody watches, or it is not
        known yet what of it may be shown to whom."""
        watched = self._watched.get(snapshot.address)
        if watched is None:
            return None
        waiting = watched.waiting
        if waiting is not None and waiting.version > snapshot.version:
            snapshot = waiting
        watched.waiting = None if watched.known else snapshot
        previous = watched.document
        if not watched.known or (previous is not None and snapshot.version <= previous.version):
            return None
        watched.document = self._compose(snapshot)
        watched.seen.clear()
        return difference(previous, watched.document)
