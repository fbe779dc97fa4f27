"""What happens in a room, shown to our clients that are there, in the order all processes have it in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, assert_never

import structlog
from msgspec.structs import replace

from presence.address import Address
from presence.rooms.events import (
    Affected,
    Configured,
    Decorated,
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
from presence.rooms.model import Affiliation, Occupant, Role, Room, seen_by
from presence.rooms.ports import RoomChanged
from presence.rooms.service import Shown
from xmpp.presence import Addressable, escape_jid
from xmpp.rooms.names import USER_NS
from xmpp.rooms.stanzas import (
    ARCHIVED,
    CREATED,
    OPEN_ROOM,
    SELF,
    characters,
    write_briefly,
    write_destroyed,
    write_item,
    write_left,
    write_no_subject,
    write_notice,
    write_occupant,
    write_picture,
    write_renamed,
    write_said,
)
from xmpp.rooms.voice import write_voice_request

if TYPE_CHECKING:
    from xmpp.session import Session

log = structlog.get_logger()

CHANGED = 104
ANONYMITY = {True: 173, False: 172}
ARCHIVING = {True: 170, False: 171}


@dataclass(slots=True)
class Seat:
    """One of our clients as far as rooms go; one for all rooms it is in."""

    session: Session
    token: str
    to: bytes
    "Its full JID, escaped."
    rooms: dict[Address, int | None] = field(default_factory=dict)
    "Where it is or is about to be → how many characters of history it wants."

    @classmethod
    def of(cls, session: Session, token: str) -> Seat:
        return cls(session, token, escape_jid(session.jid.full))

    def send(self, stanza: Addressable, name: str) -> None:
        self.session.send(stanza.to(self.to), name)


class Album:
    """Occupants as they are written for whoever enters: once while they stay as they are."""

    __slots__ = ("_written",)

    def __init__(self) -> None:
        self._written: dict[tuple[str, bool], tuple[Occupant, Affiliation, bytes, Addressable]] = {}

    def of(self, room: Room, occupant: Occupant, reveal: bool) -> Addressable:
        key = occupant.nick, reveal
        affiliation, secret = room.affiliation(occupant.address), room.head.secret
        found = self._written.get(key)
        if found is not None and found[0] is occupant and found[1:3] == (affiliation, secret):
            return found[3]
        if len(self._written) > 2 * len(room.occupants) + 16:  # of those who left
            self._written.clear()
        written = write_occupant(room, occupant, reveal=reveal)
        self._written[key] = occupant, affiliation, secret, written
        return written


class Budget:
    """Bytes that may be sent to one client at once."""

    __slots__ = ("left", "whole")

    def __init__(self, whole: int) -> None:
        self.whole = self.left = whole

    def has(self, size: int, *, keep: int = 0) -> bool:
        """There is room for so much, and then for `keep`."""
        return self.left - size >= keep

    def spend(self, size: int, *, keep: int = 0) -> bool:
        if not self.has(size, keep=keep):
            return False
        self.left -= size
        return True


class Showing:
    """Which of our clients are in which room. Moved on by events alone."""

    def __init__(
        self,
        find: Callable[[str], Seat | None],
        left: Callable[[Seat, Address], None],
        blocks: Callable[[Seat, Address, str], bool],
    ) -> None:
        """`find`: a client of ours by its token. `left`: it is not in the room any more. `blocks`: its user
        wants to hear nothing of that nickname, or of the whole room."""
        self._find = find
        self._left = left
        self._blocks = blocks
        self._rooms: dict[Address, dict[str, Seat]] = {}
        self._albums: dict[Address, Album] = {}

    def show(self, shown: Shown) -> None:
        """All events of an envelope."""
        for event in shown.envelope.events:
            self._show(shown, event)

    def _show(self, shown: Shown, event: Event) -> None:
        room = shown.after
        seats = self._rooms.get(room.address, {})
        match event:
            case Said(message=message):
                self._all(seats, write_said(message), room.address, message.sender_tuple)
            case Whispered(nick=nick, message=message):
                stanza = write_said(message, more=f"<x xmlns='{USER_NS}'/>")
                for each in room.occupants[nick].attendances:
                    seat = seats.get(each.token)
                    if seat is not None and not self._blocks(seat, room.address, message.sender_tuple):
                        seat.send(stanza, "message")
            case Entered():
                self._entered(room, event, shown.envelope)
            case Moved():
                self._moved(room.address, event)
            case Left(by=by):
                self._gone(room, replace(event, by=_named(room, by)), seats)
            case Renamed(before=before, nick=nick):
                self._each(
                    room,
                    seats,
                    lambda reveal, own: write_renamed(room, before, nick, reveal=reveal, own=own),
                    nick,
                    others=_shown(room, before),
                )
                self._updated(room, Updated(nick=nick), seats)
            case Updated():
                self._updated(room, event, seats)
            case Configured(changes=changes):
                notice = write_notice(room.address, statuses=sorted(_codes(room, changes)))
                self._all(seats, notice, room.address)
            case Affected(address=address, affiliation=affiliation, reason=reason):
                item = write_item(affiliation, Role.NONE, jid=str(address), reason=reason)
                notice = write_notice(room.address, item, groupchat=False)
                for seat, mine in self._with_occupants(room, seats):
                    if seen_by(mine.role, room.configuration):
                        seat.send(notice, "message")
            case VoiceAsked(nick=nick):
                request = write_voice_request(room, room.occupants[nick])
                for seat, mine in self._with_occupants(room, seats):
                    if mine.role is Role.MODERATOR:
                        seat.send(request, "message")
            case Decorated():
                self._all(seats, write_notice(room.address, statuses=(CHANGED,)), room.address)
                for seat in seats.values():
                    seat.send(write_picture(room), "presence")
            case Destroyed():
                for seat in list(seats.values()):
                    there = shown.before.by_token(seat.token)
                    if there is not None:
                        seat.send(write_destroyed(room.address, there.nick, event), "presence")
                    self._stand_up(room.address, seat)
            case _:
                assert_never(event)

    def refresh(self, before: Room, after: Room) -> None:
        """What came between was missed: what is so now."""
        seats = self._rooms.get(after.address, {})
        for occupant in before.occupants.values():
            now = after.occupants.get(occupant.nick)
            if now is None:
                self._gone(after, Left(occupant=occupant, hidden=not _shown(before, occupant)), seats)
        for seat in list(seats.values()):
            if after.by_token(seat.token) is None:
                self._stand_up(after.address, seat)
        for nick, occupant in after.occupants.items():
            was = before.occupants.get(nick)
            vanished = was is not None and _shown(before, was) and not _shown(after, occupant)
            self._updated(after, Updated(nick=nick, vanished=vanished), seats)

    # --- to whom ----------------------------------------------------------------------------------------

    def _all(self, seats: dict[str, Seat], stanza: Addressable, room: Address, nick: str = "") -> None:
        """A message to everybody who wants to hear that nickname."""
        head, tail = stanza.head, stanza.tail
        for seat in seats.values():
            if not self._blocks(seat, room, nick):
                seat.session.send(head + seat.to + tail, "message")

    def _with_occupants(self, room: Room, seats: dict[str, Seat]) -> Iterator[tuple[Seat, Occupant]]:
        for token, seat in list(seats.items()):
            mine = room.by_token(token)
            if mine is not None:
                yield seat, mine

    def _each(
        self,
        room: Room,
        seats: dict[str, Seat],
        write: Callable[[bool, bool], Addressable],
        about: str,
        *,
        others: bool = True,
    ) -> None:
        """To everybody what they may see of the occupant `about`: (who it is, it is oneself) → stanza.
        Without `others`, to that occupant alone."""
        written: dict[tuple[bool, bool], Addressable] = {}
        for seat, mine in self._with_occupants(room, seats):
            own = mine.nick == about
            if not own and not others:
                continue
            key = own or seen_by(mine.role, room.configuration), own
            if key not in written:
                written[key] = write(*key)
            seat.send(written[key], "presence")

    # --- events -----------------------------------------------------------------------------------------

    def _updated(self, room: Room, event: Updated, seats: dict[str, Seat]) -> None:
        occupant = room.occupants.get(event.nick)
        if occupant is None:  # they left in the same step
            return
        actor = _named(room, event.by)

        def write(reveal: bool, own: bool) -> Addressable:
            if event.vanished and not own:
                gone = Left(occupant=occupant, affiliation=room.affiliation(occupant.address))
                return write_left(room, gone, reveal=reveal)
            statuses = (SELF,) if own else ()
            return write_occupant(
                room, occupant, reveal=reveal, statuses=statuses, actor=actor, reason=event.reason
            )

        self._each(room, seats, write, event.nick, others=event.vanished or _shown(room, occupant))

    def _entered(self, room: Room, event: Entered, envelope: RoomChanged) -> None:
        seats = self._rooms.setdefault(room.address, {})
        occupant = room.occupants[event.nick]
        seats.pop(event.token, None)
        if event.first and _shown(room, occupant):
            self._each(
                room, seats, lambda reveal, own: write_occupant(room, occupant, reveal=reveal), event.nick
            )
        seat = self._find(event.token)
        if seat is not None:
            seats[event.token] = seat
            self._welcome(room, occupant, seat, event, envelope)
        elif not seats:
            del self._rooms[room.address]

    def _moved(self, room: Address, event: Moved) -> None:
        seat = self._find(event.before)
        if seat is not None:
            self._stand_up(room, seat)
        seat = self._find(event.after)
        if seat is not None:
            self._rooms.setdefault(room, {})[event.after] = seat

    def _welcome(self, room: Room, mine: Occupant, seat: Seat, event: Entered, envelope: RoomChanged) -> None:
        """§7.1: who is there, oneself, what was said, the subject."""
        if room.head.card:
            seat.send(write_picture(room), "presence")
        reveal = seen_by(mine.role, room.configuration)
        budget = Budget(seat.session.router.settings.max_outbound // 4)
        self._show_others(room, mine, seat, reveal, budget)
        seat.session.charge(budget.whole - budget.left)
        statuses = [SELF]
        if not room.configuration.anonymous:
            statuses.append(OPEN_ROOM)
        if room.configuration.archived:
            statuses.append(ARCHIVED)
        if event.created:
            statuses.append(CREATED)
        seat.send(write_occupant(room, mine, reveal=True, statuses=statuses), "presence")
        history = [
            write_said(message, delayed=True).to(seat.to)
            for message in envelope.history
            if not self._blocks(seat, room.address, message.sender_tuple)
        ]
        most = seat.rooms.get(room.address)
        if most is not None:
            while history and sum(map(characters, history)) > most:
                del history[0]
        while history and not budget.has(sum(map(len, history))):
            del history[0]
        for data in history:
            seat.session.send(data, "message")
        subject = room.head.subject
        last = write_no_subject(room.address) if subject is None else write_said(subject, delayed=True)
        seat.send(last, "message")

    def _show_others(self, room: Room, mine: Occupant, seat: Seat, reveal: bool, budget: Budget) -> None:
        """As much of them as a client takes at once: first all, then who they are, then nothing."""
        album = self._albums.setdefault(room.address, Album())
        left_out = 0
        for other in room.occupants.values():
            if other.nick == mine.nick or not _shown(room, other):
                continue
            stanza = album.of(room, other, reveal)
            if not budget.spend(stanza.size, keep=budget.whole // 2):
                stanza = write_briefly(room, other, reveal=reveal)
                if not budget.spend(stanza.size, keep=budget.whole // 4):
                    left_out += 1
                    continue
            seat.send(stanza, "presence")
        if left_out:
            log.info("room_not_shown_whole", room=str(room.address), left_out=left_out)

    def _gone(self, room: Room, event: Left, seats: dict[str, Seat]) -> None:
        tokens = {each.token for each in event.occupant.attendances}
        own = None
        for token in tokens & seats.keys():
            own = own or write_left(room, event, reveal=True, own=True)
            seat = seats[token]
            seat.send(own, "presence")
            self._stand_up(room.address, seat)
        if event.whole and not event.hidden:
            self._each(room, seats, lambda reveal, _: write_left(room, event, reveal=reveal), "")

    def _stand_up(self, room: Address, seat: Seat) -> None:
        seats = self._rooms.get(room)
        if seats is not None:
            seats.pop(seat.token, None)
            if not seats:
                del self._rooms[room]
                self._albums.pop(room, None)
        self._left(seat, room)


def _shown(room: Room, occupant: Occupant) -> bool:
    """The others are told that they are there."""
    return occupant.role in room.configuration.broadcast


def _named(room: Room, by: str) -> str:
    """Who did something, unless the others are not told that they are there."""
    there = room.occupants.get(by)
    return by if there is None or _shown(room, there) else ""


def _codes(room: Room, changes: tuple[str, ...]) -> set[int]:
    """Status codes of a new configuration (§10.2.1)."""
    special = {
        "anonymous": ANONYMITY[room.configuration.anonymous],
        "archived": ARCHIVING[room.configuration.archived],
    }
    return {special.get(name, CHANGED) for name in changes}
