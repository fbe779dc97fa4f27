"""What an action in a room changes, and who hears of it (XEP-0045 §7 to §10): pure functions of its state.

Each takes a room as it is and returns a `Step`. What is not allowed raises `Refused`, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from msgspec.structs import replace

from presence.address import Address
from presence.errors import Condition, Refused
from presence.messages import InstantMessage
from presence.model import PresenceTuple, Text
from presence.rooms.events import (
    Configured,
    Decorated,
    Departure,
    Destroyed,
    Entered,
    Event,
    Left,
    Moved,
    Renamed,
    Said,
    Updated,
    VoiceAsked,
    Whispered,
)
from presence.rooms.model import (
    Affiliated,
    Affiliation,
    Attendance,
    Configuration,
    Delta,
    Head,
    Occupant,
    Role,
    Room,
)
from presence.rooms.privileges import (
    check_entrance,
    check_invitation,
    check_owner,
    check_registration,
    check_speech,
    check_subject,
    check_whisper,
    initial_role,
    role_after,
)

MAX_ATTENDANCES = 16
"Endpoints of one person under one nickname."
BYTES_PER_PERSON = 150
"What the address, nickname and reason of somebody affiliated may take on average, in characters."
MAX_NICKS = 8
"Nicknames of one person in one room."


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a room may hold; see `presence.rooms.settings`."""

    max_occupants: int = 500
    max_affiliations: int = 5_000
    max_history: int = 200
    max_history_bytes: int = 262_144


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How much of what was said before somebody wants to see (XEP-0045 §7.2.14). None: as the room likes."""

    messages: int | None = None
    characters: int | None = None
    since: float | None = None
    "Unix seconds."


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What an action comes to. The parts are done together, or none of them."""

    delta: Delta = field(default_factory=Delta)
    events: tuple[Event, ...] = ()
    history: InstantMessage | None = None
    "Shown to those who enter later."
    archived: InstantMessage | None = None
    strike: str = ""
    "Id of a message that is shown to nobody any more."
    wish: Wish | None = None
    "Somebody enters and wants to see what was said."
    created: bool = False
    only: str = ""
    "Nickname of the one who hears of it; empty: all do."


def _nobody_here() -> Refused:
    return Refused(Condition.NOT_ACCEPTABLE, "you are not in this room")


def occupant(room: Room | None, token: str) -> Occupant:
    """Who acts. Raises `Refused` NOT_ACCEPTABLE for whoever is not there."""
    found = room.by_token(token) if room is not None else None
    if found is None:
        raise _nobody_here()
    return found


def speaker(room: Room | None, token: str) -> tuple[Occupant, Room]:
    """Who says something, and where. Raises `Refused` ITEM_NOT_FOUND also for a room that is not there, or
    not open yet (§17.2)."""
    if room is None or (room.head.locked and room.by_token(token) is None):
        raise Refused(Condition.ITEM_NOT_FOUND, "there is no such room")
    return occupant(room, token), room


# --- coming and going --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Somebody wants to come in."""

    attendance: Attendance
    nick: str
    password: str = ""
    wish: Wish = field(default_factory=Wish)


def create(
    creator: Address, configuration: Configuration, secret: bytes, now: float, *, locked: bool
) -> Delta:
    """A room with its creator as its owner."""
    head = Head(configuration=configuration, creator=creator, created=now, secret=secret, locked=locked)
    return Delta(head=head, affiliated=(Affiliated(creator, Affiliation.OWNER),))


def enter(room: Room, entry: Entry, *, created: bool = False) -> Step:
    """§7.2. For a room that is just being made, `room` has its creation applied already."""
    attendance, nick = entry.attendance, entry.nick
    mine = room.by_token(attendance.token)
    if mine is not None and mine.nick != nick:
        return rename(room, attendance.token, nick, attendance.presence)
    address = attendance.address
    affiliation = room.affiliation(address)
    if room.head.locked and affiliation is not Affiliation.OWNER:
        raise Refused(Condition.ITEM_NOT_FOUND, "the room is not configured yet")
    if mine is None:
        check_entrance(room.configuration, affiliation, entry.password)
    _check_nick(room, nick, address)
    there = room.occupants.get(nick)
    if there is not None:
        return _enter_again(there, attendance, entry.wish)
    full = len(room.occupants) >= room.configuration.max_occupants
    if full and affiliation.rank < Affiliation.ADMIN.rank:
        raise Refused(Condition.SERVICE_UNAVAILABLE, "the room is full")
    if len(room.here(address)) >= MAX_NICKS:
        raise Refused(Condition.NOT_ALLOWED, "too many nicknames of one person")
    new = Occupant(
        nick=nick,
        address=address,
        role=initial_role(room.configuration, affiliation),
        attendances=(attendance,),
    )
    event = Entered(nick=nick, token=attendance.token, created=created)
    return Step(delta=Delta(occupants=(new,)), events=(event,), wish=entry.wish, created=created)


def _enter_again(there: Occupant, attendance: Attendance, wish: Wish) -> Step:
    """With another endpoint of the same person, or with one that lost track of the room."""
    others = tuple(
        each
        for each in there.attendances
        if each.token != attendance.token
        and (each.endpoint, each.address) != (attendance.endpoint, attendance.address)
    )
    if len(others) >= MAX_ATTENDANCES:
        raise Refused(Condition.RESOURCE_CONSTRAINT, "too many clients under this nickname")
    now = replace(there, attendances=(*others, attendance))
    event = Entered(nick=there.nick, token=attendance.token, first=False)
    seen = Updated(nick=there.nick)  # for the others; whoever enters is told of themselves last
    same = replace(attendance.presence, since=there.presence.since) == there.presence
    return Step(delta=Delta(occupants=(now,)), events=(event,) if same else (seen, event), wish=wish)


def _check_nick(room: Room, nick: str, address: Address) -> None:
    """§7.2.8: used by somebody else, or somebody else's for good. §17.1: nobody could see it."""
    if not nick.strip():
        raise Refused(Condition.BAD_REQUEST, "a nickname of spaces alone cannot be seen")
    there = room.occupants.get(nick)
    if there is not None and there.address != address:
        raise Refused(Condition.CONFLICT, "somebody else has this nickname")
    owner = room.reserved(nick)
    if owner is not None and owner != address:
        raise Refused(Condition.CONFLICT, "this nickname is reserved for somebody else")


def move(room: Room | None, token: str, node: str, owner: str, after: str) -> Step:
    """The client with that token is now with another process, under a new token: what the one before may
    still do with the old one concerns nobody."""
    there = occupant(room, token)
    moved = tuple(
        replace(each, node=node, owner=owner, token=after) if each.token == token else each
        for each in there.attendances
    )
    event = Moved(nick=there.nick, before=token, after=after)
    return Step(delta=Delta(occupants=(replace(there, attendances=moved),)), events=(event,))


def leave(
    room: Room | None,
    tokens: tuple[str, ...],
    why: Departure = Departure.LEFT,
    notes: tuple[Text, ...] = (),
    opaque: dict[str, bytes] | None = None,
) -> Step:
    """§7.14. Whoever is not there is not missed."""
    if room is None:
        return Step()
    delta, events = Delta(), []
    by_nick: dict[str, list[str]] = {}
    for token in tokens:
        found = room.by_token(token)
        if found is not None:
            by_nick.setdefault(found.nick, []).append(token)
    changed, left = [], []
    for nick, gone in by_nick.items():
        before = room.occupants[nick]
        stay = before.without(gone)
        if stay:
            changed.append(replace(before, attendances=stay))
        else:
            left.append(nick)
        events.append(
            Left(
                occupant=replace(
                    before, attendances=tuple(each for each in before.attendances if each.token in gone)
                ),
                why=why,
                whole=not stay,
                affiliation=room.affiliation(before.address),
                hidden=before.role not in room.configuration.broadcast,
                notes=notes,
                opaque=opaque or {},
            )
        )
    delta = Delta(occupants=tuple(changed), left=tuple(left))
    return Step(delta=closing(room, delta), events=tuple(events))


def closing(room: Room, delta: Delta) -> Delta:
    """A temporary room goes with its last occupant; so does one that its creator never configured."""
    head = delta.head or room.head
    if head.configuration.persistent and not head.locked:
        return delta
    remaining = set(room.occupants) - set(delta.left) | {each.nick for each in delta.occupants}
    return delta if remaining else replace(delta, gone=True)


def rename(room: Room, token: str, nick: str, presence: PresenceTuple) -> Step:
    """§7.6. All endpoints under the nickname go along."""
    before = occupant(room, token)
    _check_nick(room, nick, before.address)
    if nick in room.occupants:  # their own, with another client
        raise Refused(Condition.CONFLICT, "you are here under this nickname already")
    after = replace(_presented(before, token, presence), nick=nick)
    delta = Delta(occupants=(after,), left=(before.nick,))
    return Step(delta=delta, events=(Renamed(before=before, nick=nick),))


def present(room: Room | None, token: str, presence: PresenceTuple) -> Step:
    """§7.7: another show, another status."""
    before = occupant(room, token)
    after = _presented(before, token, presence)
    return Step(delta=Delta(occupants=(after,)), events=(Updated(nick=before.nick),))


def _presented(before: Occupant, token: str, presence: PresenceTuple) -> Occupant:
    mine = next(each for each in before.attendances if each.token == token)
    return replace(before, attendances=(*before.without([token]), replace(mine, presence=presence)))


# --- talking -----------------------------------------------------------------------------------------


def speak(room: Room | None, token: str, message: InstantMessage, *, lasting: bool) -> Step:
    """§7.4. `lasting`: worth showing to those who come later. `message` has the nickname and the author."""
    speaking, room = speaker(room, token)
    if message.subjects and not message.bodies and not message.thread:
        return _subject(room, speaking, message)
    check_speech(speaking.role)
    archived = lasting and room.configuration.archived
    return Step(
        events=(Said(message=message),),
        history=message if lasting else None,
        archived=message if archived else None,
    )


def _subject(room: Room, speaking: Occupant, message: InstantMessage) -> Step:
    """§8.1."""
    check_subject(room.configuration, speaking.role)
    archived = message if room.configuration.archived else None
    head = replace(room.head, subject=message)
    return Step(delta=Delta(head=head), events=(Said(message=message),), archived=archived)


def whisper(room: Room | None, token: str, nick: str, message: InstantMessage) -> Step:
    """§7.5."""
    sender, room = speaker(room, token)
    recipient = room.occupants.get(nick)
    if recipient is None:
        raise Refused(Condition.ITEM_NOT_FOUND, "nobody here has this nickname")
    if recipient.nick != sender.nick:
        check_whisper(room.configuration, sender.role, recipient.role)
    return Step(events=(Whispered(nick=nick, message=message),), only=nick)


def ask_for_voice(room: Room | None, token: str) -> Step:
    """§7.13: moderators are asked."""
    asking = occupant(room, token)
    if asking.role is not Role.VISITOR:
        raise Refused(Condition.NOT_ALLOWED, "you have a voice")
    return Step(events=(VoiceAsked(nick=asking.nick),))


def invite(room: Room | None, token: str, invited: Address, bounds: Bounds) -> Step:
    """§7.8.2: what the room does about it; the invitation itself is the caller's to send."""
    host = occupant(room, token)
    assert room is not None
    affiliation = room.affiliation(host.address)
    check_invitation(room.configuration, affiliation)
    theirs = room.affiliation(invited)
    if theirs is Affiliation.OUTCAST:
        raise Refused(Condition.FORBIDDEN, "they are banned from this room")
    if not room.configuration.members_only or theirs is not Affiliation.NONE:
        return Step()
    member = Affiliated(invited, Affiliation.MEMBER)
    check_room_for(room, (member,), bounds)
    return Step(delta=Delta(affiliated=(member,)))


def check_room_for(room: Room, changed: Iterable[Affiliated], bounds: Bounds) -> None:
    """Whether a room may hold what is new of these. Raises `Refused`."""
    after = {each.address: each for each in changed}
    number = len(room.affiliated.keys() | after.keys())
    grows = number > len(room.affiliated)
    weight = sum(map(_weight, after.values())) - sum(_weight(room.affiliated.get(a)) for a in after)
    if weight > 0:
        weight += sum(map(_weight, room.affiliated.values()))
    most = bounds.max_affiliations
    if (grows and number > most) or weight > most * BYTES_PER_PERSON:
        raise Refused(Condition.RESOURCE_CONSTRAINT, "too many are affiliated with this room")


def _weight(affiliated: Affiliated | None) -> int:
    if affiliated is None or not affiliated.kept:
        return 0
    address = affiliated.address
    return len(address.local) + len(address.domain) + len(affiliated.nick) + len(affiliated.reason)


def moderate(room: Room | None, token: str, strike: str, announcement: InstantMessage) -> Step:
    """XEP-0425 §3: a moderator takes a message back; everybody is told by the room."""
    if occupant(room, token).role is not Role.MODERATOR:
        raise Refused(Condition.FORBIDDEN, "only moderators retract what others say")
    assert room is not None
    archived = announcement if room.configuration.archived else None
    said = Said(message=announcement)
    return Step(events=(said,), history=announcement, archived=archived, strike=strike)


# --- nicknames for good ------------------------------------------------------------------------------


def register(room: Room, address: Address, nick: str, bounds: Bounds) -> Step:
    """§7.10: who reserves a nickname becomes a member."""
    affiliation = room.affiliation(address)
    check_registration(room.configuration, affiliation)
    _check_nick(room, nick, address)
    before = room.affiliated.get(address, Affiliated(address))
    standing = Affiliation.MEMBER if affiliation is Affiliation.NONE else affiliation
    after = replace(before, affiliation=standing, nick=nick)
    if after == before:
        return Step()
    check_room_for(room, (after,), bounds)
    return Step(delta=Delta(affiliated=(after,)), events=_seen_anew(room, address))


def unregister(room: Room, address: Address) -> Step:
    """The nickname is free again, and a member is none any more."""
    before = room.affiliated.get(address)
    if before is None or not before.nick:
        raise Refused(Condition.ITEM_NOT_FOUND, "no nickname is reserved for you")
    after = replace(before, nick="")
    if before.affiliation is Affiliation.MEMBER and not room.configuration.members_only:
        after = replace(after, affiliation=Affiliation.NONE)
    return Step(delta=Delta(affiliated=(after,)), events=_seen_anew(room, address))


def _seen_anew(room: Room, address: Address) -> tuple[Event, ...]:
    return tuple(Updated(nick=each.nick) for each in room.here(address))


# --- the room itself ---------------------------------------------------------------------------------


def configure(
    room: Room,
    owner: Address,
    configuration: Configuration,
    bounds: Bounds,
    affiliated: tuple[Affiliated, ...] = (),
) -> Step:
    """§10.2. `affiliated`: lists of owners and admins that come along, checked by the caller. The first
    configuration opens the room (§10.1)."""
    check_owner(room.affiliation(owner))
    check_room_for(room, affiliated, bounds)
    configuration = replace(
        configuration,
        max_occupants=max(1, min(configuration.max_occupants, bounds.max_occupants)),
        history=max(0, min(configuration.history, bounds.max_history)),
    )
    before = room.configuration
    changes = tuple(
        name
        for name in Configuration.__struct_fields__
        if getattr(before, name) != getattr(configuration, name)
    )
    locked = room.head.locked
    if not changes and not locked and not affiliated:
        return Step()
    head = replace(room.head, configuration=configuration, locked=False)
    standing = {each.address: each.affiliation for each in affiliated}
    left: list[str] = []
    stay: list[Occupant] = []
    events: list[Event] = []
    if changes and not locked:
        events.append(Configured(changes=changes))
    closes = configuration.members_only and not before.members_only
    for each in room.occupants.values():
        was = room.affiliation(each.address)
        mine = standing.get(each.address, was)
        shown = each.role in before.broadcast
        if closes and mine.rank < Affiliation.MEMBER.rank:
            left.append(each.nick)
            gone = Left(occupant=each, why=Departure.NOT_MEMBER, affiliation=mine, hidden=not shown)
            events.append(gone)
            continue
        role = role_after(configuration, each.role, was, mine) if mine is not was else each.role
        if mine is not was:
            stay.append(replace(each, role=role))
        if mine is not was or shown is not (role in configuration.broadcast):
            events.append(Updated(nick=each.nick, vanished=shown and role not in configuration.broadcast))
    delta = Delta(head=head, occupants=tuple(stay), left=tuple(left), affiliated=affiliated)
    return Step(delta=closing(room, delta), events=tuple(events))


def decorate(room: Room, owner: Address, picture: str) -> Step:
    """The room has a card from now on (XEP-0486 §3)."""
    check_owner(room.affiliation(owner))
    head = replace(room.head, card=True, picture=picture)
    return Step(delta=Delta(head=head), events=(Decorated(),))


def destroy(
    room: Room, owner: Address, reason: str = "", alternate: Address | None = None, password: str = ""
) -> Step:
    """§10.9."""
    check_owner(room.affiliation(owner))
    event = Destroyed(reason=reason, alternate=alternate, password=password)
    return Step(delta=Delta(left=tuple(room.occupants), gone=True), events=(event,))


def abandon(room: Room, owner: Address) -> Step:
    """§10.1.3: the creator does not want the room after all. A room in use is not affected."""
    check_owner(room.affiliation(owner))
    return destroy(room, owner) if room.head.locked else Step()
