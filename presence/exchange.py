"""What one act between two people comes to: both rosters, and what each side's clients are shown.

Pure. One exchange is one transaction of the store, so that the two rosters never disagree. The contact's
side is None where there is nobody: an unknown user must not be told from one who does not answer (RFC 6121
§8.5.1).
"""

from __future__ import annotations

import msgspec

from presence.address import Address
from presence.model import Text
from presence.ports import RosterChange
from presence.subscriptions import Act, RosterItem, Step, inbound, outbound, removal


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What one side's clients learn."""

    owner: Address
    before: RosterItem
    item: RosterItem
    shown: Act | None = None
    "The stanza they are shown, from the contact."
    push: bool = False
    "They see the item changed."


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    item: RosterItem
    "The user's item afterwards."
    changes: tuple[RosterChange, ...]
    events: tuple[Event, ...]


def exchange(
    user: Address,
    mine: RosterItem,
    theirs: RosterItem | None,
    act: Act,
    *,
    in_place: Act | None = None,
    notes: tuple[Text, ...] = (),
    opaque: bytes = b"",
) -> Exchange:
    """User does `act` towards contact. `in_place`: what a policy answers a request in the contact's place."""
    contact = mine.contact
    step = outbound(mine, act)
    events = [_event(user, step)]
    item = step.item
    if step.carry and theirs is not None:
        heard = inbound(theirs, act, notes, opaque)
        reply = heard.reply
        if in_place is not None and heard.item.pending_in and act is Act.SUBSCRIBE:
            # answered at once: the contact is not asked
            heard = Step(before=theirs, item=outbound(heard.item, in_place).item, carry=False)
            reply = in_place
        events.append(_event(contact, heard, act))
        if reply is not None:
            told = inbound(item, reply)
            events.append(_event(user, told, reply))
            item = told.item
    return _exchange(item, events)


def arrival(
    owner: Address,
    theirs: RosterItem,
    act: Act,
    *,
    in_place: Act | None = None,
    notes: tuple[Text, ...] = (),
    opaque: bytes = b"",
) -> tuple[Exchange, Act | None]:
    """Somebody of another server, who keeps their own roster, does `act` towards the owner of `theirs`.
    Returns the owner's side, and what is answered at once."""
    heard = inbound(theirs, act, notes, opaque)
    reply = heard.reply
    if in_place is not None and heard.item.pending_in and act is Act.SUBSCRIBE:
        heard = Step(before=theirs, item=outbound(heard.item, in_place).item, carry=False)
        reply = in_place
    return _exchange(heard.item, [_event(owner, heard, act)]), reply


def parting(user: Address, mine: RosterItem, theirs: RosterItem | None) -> Exchange:
    """User removes contact from the roster (RFC 6121 §2.5.2)."""
    gone = removal(mine)
    events = [_event(user, Step(before=mine, item=gone.item, carry=False))]
    for act in gone.acts:
        if theirs is None:
            break
        heard = inbound(theirs, act)
        events.append(_event(mine.contact, heard, act))
        theirs = heard.item
    return _exchange(gone.item, events)


def _event(owner: Address, step: Step, act: Act | None = None) -> Event:
    return Event(
        owner=owner, before=step.before, item=step.item, shown=act if step.carry else None, push=step.push
    )


def _exchange(item: RosterItem, events: list[Event]) -> Exchange:
    """One change per owner, from the first state to the last; events that show nothing and change nothing
    are left out, and a bare change is told together with the owner's next event."""
    firsts = {e.owner: e.before for e in reversed(events)}
    lasts = {e.owner: e.item for e in events}
    told: list[Event] = []
    for event in events:
        held = next((t for t in told if t.owner == event.owner and t.shown is None), None)
        if held is not None:
            told.remove(held)
            event = msgspec.structs.replace(event, before=held.before, push=held.push or event.push)
        told.append(event)
    return Exchange(
        item=item,
        changes=tuple(
            RosterChange(owner=owner, previous=firsts[owner], item=last)
            for owner, last in lasts.items()
            if last != firsts[owner]
        ),
        events=tuple(e for e in told if e.shown is not None or e.item != e.before),
    )
