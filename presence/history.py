"""Reading the archive: what is kept, and what was accepted but is not kept yet, as one.

Writing groups messages for some tenths of a second; a reader sees all that was accepted before it asked.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from presence.address import Address
from presence.archive import LAST, Archived, Keep, Page, Parties, Preferences, Span, correspondents
from presence.errors import Condition, Refused, Unavailable
from presence.messages import InstantMessage
from presence.ports import Archive, Bus, Store

MAX_TAIL = 10_000
"Messages not yet in the archive that one question looks through."


decode_parties = msgspec.msgpack.Decoder(Parties).decode
_decode_message = msgspec.msgpack.Decoder(InstantMessage).decode


async def keeps(
    store: Store, owner: Address, preferences: Preferences, message: Parties | InstantMessage
) -> bool:
    """Whether the owner wants the message kept."""
    for who in correspondents(message, owner):
        verdict = preferences.verdict(who)
        if verdict is Keep.ALWAYS:
            return True
        if verdict is Keep.ROSTER:
            item = await store.item(owner, who.address)
            if item.listed or who.address == owner:
                return True
    return False


EVERYTHING = Span()


class _Tail(msgspec.Struct, frozen=True):
    """What is not in the archive yet."""

    items: tuple[Archived, ...]
    begins: int
    "What the archive has from here on is also among the items."


class History:
    """The owner's word is the caller's to check: nobody else may read an archive."""

    def __init__(self, bus: Bus, archive: Archive, store: Store) -> None:
        self._bus = bus
        self._archive = archive
        self._store = store

    async def page(self, owner: Address, span: Span, limit: int, *, backwards: bool = False) -> Page:
        """The first messages of a span, or the last ones; fewer than `limit` where they are large. Raises
        `Unavailable`."""
        tail = await self._tail(owner)
        fresh = [each for each in tail.items if span.has(owner, each.position, each.message)]
        kept = replace(span, before=min(span.before, tail.begins))
        found = await self._archive.page(owner, kept, limit, backwards=backwards)
        if not backwards and not found.complete:
            return found
        both = (*found.items, *fresh)
        chosen = both[-limit:] if backwards else both[:limit]
        return Page(chosen, complete=found.complete and len(both) <= limit)

    async def find(self, owner: Address, ids: Sequence[str]) -> list[Archived]:
        """Messages by their ids, in order. Raises `Refused` ITEM_NOT_FOUND unless all are there."""
        tail = await self._tail(owner)
        wanted = set(ids)
        found = {each.position: each for each in await self._archive.find(owner, list(wanted))}
        found.update((each.position, each) for each in tail.items if each.message.id in wanted)
        if len(found) < len(wanted):
            raise Refused(Condition.ITEM_NOT_FOUND, "the archive has no message of this id")
        return [found[position] for position in sorted(found)]

    async def count(self, owner: Address, span: Span) -> int:
        tail = await self._tail(owner)
        fresh = sum(span.has(owner, each.position, each.message) for each in tail.items)
        kept = replace(span, before=min(span.before, tail.begins))
        return fresh + await self._archive.count(owner, kept)

    async def bounds(self, owner: Address, span: Span = EVERYTHING) -> tuple[Archived, Archived] | None:
        """The oldest and the newest message of a span; None when there is none."""
        first = await self.page(owner, span, 1)
        last = await self.page(owner, span, 1, backwards=True)
        return (first.items[0], last.items[0]) if first.items and last.items else None

    async def preferences(self, owner: Address) -> Preferences:
        found = await self._archive.preferences([owner])
        return found.get(owner, Preferences())

    async def set_preferences(self, owner: Address, preferences: Preferences) -> None:
        await self._archive.set_preferences(owner, preferences)

    async def _tail(self, owner: Address) -> _Tail:
        """Read before the archive is: what moves from here to there in between is not missed."""
        waiting = await self._bus.unarchived(MAX_TAIL, 0)
        if not waiting:
            return _Tail((), LAST)
        if len(waiting) == MAX_TAIL:
            raise Unavailable("the archive does not keep up")
        mine: list[Archived] = []
        for each in waiting:
            parties = decode_parties(each.message)
            if owner in (parties.sender, parties.recipient):
                mine.append(Archived(each.position, _decode_message(each.message)))
        if mine:
            wishes = await self.preferences(owner)
            mine = [each for each in mine if await keeps(self._store, owner, wishes, each.message)]
        return _Tail(tuple(mine), waiting[0].position)
