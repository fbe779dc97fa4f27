"""One document from many sources (the data model of RFC 4479; composition as RFC 3856 §6.11.2 leaves it
open).

Pure and deterministic: two nodes with the same snapshot show the same document, and a tuple keeps its id for
as long as its source lives. The rules:

- What speaks for another source (`Source.tied_to`) counts only while that one lives, and then in its place.
  A phone's publication thus replaces what its registration alone says, under the registration's tuple id,
  and dies with it.
- Of several such speakers the one that changed last is believed; where they changed at once, an open one. A
  phone that publishes anew at each login and forgets its old, closed document is online all the same.
- A closed tuple gives way to an open one of the same id. Other equal ids are told apart by a suffix.
- Of the person, each field is taken from the source that changed last and has it; but somebody who is on the
  phone by any source is.
- The first tuple speaks for all where only one can be shown. Open ones come before closed ones; which of them
  is first is the operator's `Rule`.

# GAP RFC 3856 §6.11.2: people cannot choose the rule for themselves
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any

from msgspec.structs import replace

from presence.model import Person, PresenceDocument, PresenceTuple, Show, Snapshot, Source


class Rule(StrEnum):
    """Which tuple comes first; the others follow it in the same order."""

    PRIORITY = "priority"
    "The highest priority (absent counts as 0, RFC 6121 §4.7.2.3), then the newest."
    NEWEST = "newest"
    BUSIEST = "busiest"
    "The one that wants to be disturbed least, then as by priority."


def compose(snapshot: Snapshot, rule: Rule = Rule.PRIORITY) -> PresenceDocument:
    """What a fully authorised watcher may see of these sources."""
    spoken = [_spoken(base, speakers) for base, speakers in _bases(snapshot.sources)]
    return PresenceDocument(
        address=snapshot.address,
        version=snapshot.version,
        tuples=tuple(sorted(_distinct(spoken), key=_RANKS[rule])),
        person=_person(source for source, _ in spoken) if spoken else None,
        last_seen=snapshot.last_seen,
    )


ON_THE_PHONE = "on-the-phone"

Spoken = tuple[Source, tuple[PresenceTuple, ...]]
"A source that counts, and the tuples it stands for."


def _bases(sources: tuple[Source, ...]) -> list[tuple[Source, list[Source]]]:
    """Sources that stand for themselves, each with those that speak for it; speakers for the dead are left
    out.
    """
    bases: dict[str, tuple[Source, list[Source]]] = {s.id: (s, []) for s in sources if not s.tied_to}
    for source in sources:
        if source.tied_to in bases:
            bases[source.tied_to][1].append(source)
    return sorted(bases.values(), key=lambda pair: _claim(pair[0]))


def _claim(source: Source) -> tuple[bool, str]:
    """Order in which ids are given away. A resource keeps its name: it is part of a routable address."""
    return (not source.id.startswith("xmpp:"), source.id)


def _spoken(base: Source, speakers: list[Source]) -> Spoken:
    if not speakers:
        return base, base.tuples
    heard = [s for s in speakers if s.tuples]
    person = _person([base, *(s for s in speakers if s not in heard), *_newest(heard)])
    if not heard:
        return replace(base, person=person, since=max(s.since for s in (base, *speakers))), base.tuples
    (speaker,) = _newest(heard)
    merged = replace(base, person=person, since=max(base.since, speaker.since))
    if not base.tuples or len(speaker.tuples) > 1:
        return merged, speaker.tuples
    service, own = speaker.tuples[0], base.tuples[0]
    spoken = replace(
        service,
        id=own.id,
        contact=service.contact or own.contact,
        priority=own.priority if service.priority is None else service.priority,
        capabilities=own.capabilities if service.capabilities is None else service.capabilities,
    )
    return merged, (spoken,)


def _newest(sources: list[Source]) -> list[Source]:
    """The one to believe, or none of none."""
    return [max(sources, key=lambda s: (s.since, any(t.open for t in s.tuples), s.id))] if sources else []


def _distinct(spoken: list[Spoken]) -> Iterable[PresenceTuple]:
    """All tuples under different ids."""
    if len(spoken) == 1 and len(spoken[0][1]) < 2:
        return spoken[0][1]
    open_ids = {t.id for _, tuples in spoken for t in tuples if t.open}
    taken: dict[str, PresenceTuple] = {}
    for source, tuples in spoken:
        for each in tuples:
            if not each.open and each.id in open_ids:
                continue
            name = each.id
            if name in taken:
                # from the source's name, not a counter: it must not depend on who else is there
                name = f"{each.id}-{zlib.crc32(source.id.encode()):08x}"
                while name in taken:
                    name += "-"
            taken[name] = each if name == each.id else replace(each, id=name)
    return taken.values()


def _rank(each: PresenceTuple) -> tuple[bool, int, float, str]:
    return (not each.open, -(each.priority or 0), -each.since, each.id)


def _newest_first(each: PresenceTuple) -> tuple[bool, float, int, str]:
    return (not each.open, -each.since, -(each.priority or 0), each.id)


def _busiest_first(each: PresenceTuple) -> tuple[bool, int, int, float, str]:
    return (not each.open, _CALM[each.show], -(each.priority or 0), -each.since, each.id)


_CALM = {Show.DND: 0, Show.XA: 1, Show.AWAY: 2, None: 3, Show.CHAT: 4}
_RANKS: dict[Rule, Callable[[PresenceTuple], Any]] = {
    Rule.PRIORITY: _rank,
    Rule.NEWEST: _newest_first,
    Rule.BUSIEST: _busiest_first,
}


def _person(sources: Iterable[Source]) -> Person | None:
    spoken_of = [(s.since, s.id, s.person) for s in sources if s.person is not None]
    if len(spoken_of) < 2:
        return spoken_of[0][2] if spoken_of else None
    people = [person for _, _, person in sorted(spoken_of, key=lambda each: each[:2], reverse=True)]
    said = [p.activities for p in people if p.activities]
    return Person(
        activities=next((each for each in said if ON_THE_PHONE in each), said[0] if said else ()),
        mood=next((p.mood for p in people if p.mood), ()),
        notes=next((p.notes for p in people if p.notes), ()),
        idle_since=next((p.idle_since for p in people if p.idle_since is not None), None),
        ringing=any(p.ringing for p in people),
        rich=next((p.rich for p in people if p.rich), ()),
    )
