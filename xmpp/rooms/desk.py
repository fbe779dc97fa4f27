"""What clients send to a domain of rooms: an `xmpp.hosted.Service`."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
import structlog
from msgspec.structs import replace

from presence.address import Address
from presence.errors import Condition, InvalidAddress, Refused, Unavailable
from presence.messages import Audience, InstantMessage, Kind
from presence.model import PresenceTuple
from presence.rooms.administration import GiveRole, administer
from presence.rooms.decisions import (
    Entry,
    Step,
    Wish,
    ask_for_voice,
    invite,
    leave,
    move,
    occupant,
    present,
    rename,
    speak,
    speaker,
    whisper,
)
from presence.rooms.model import (
    AUTHOR,
    Affiliation,
    Attendance,
    Author,
    Configuration,
    Role,
    Room,
    encode_author,
    occupant_id,
)
from presence.rooms.ports import RoomChanged
from presence.rooms.privileges import MembersOnly
from presence.rooms.service import Rooms
from xmpp.availability import FIRST_RETRY, LAST_RETRY
from xmpp.element import CLIENT_NS, E, Element
from xmpp.errors import StanzaError
from xmpp.extensions.xep_0280_carbons import SENT, share
from xmpp.jid import JID, parse_jid
from xmpp.message import MessageType, message_type, read_message
from xmpp.presence import DELAY_NS, OPAQUE, read_presence, size_of
from xmpp.rate import Paces
from xmpp.rooms.names import CONFERENCE_NS, MUC_NS, OCCUPANT_NS, USER_NS
from xmpp.rooms.requests import MAM_FEATURES, RoomRequest, answer, answer_service, forward, give_back, place
from xmpp.rooms.showing import Seat, Showing
from xmpp.rooms.stanzas import write_kick
from xmpp.rooms.voice import read_voice_form
from xmpp.serialiser import serialise_children
from xmpp.timestamps import parse_stamp

if TYPE_CHECKING:
    from xmpp.router import XmppRouter
    from xmpp.session import Session

log = structlog.get_logger()

KEY = "XEP-0045"
"Of what sessions keep for us."
MAX_PRESENCE = 4_096
"Bytes of a presence: everybody there has a copy of it."
MAX_SUBJECT = 4_096
"Characters of a subject."
MAX_WITH_SUBJECT = 2 * MAX_SUBJECT
"Bytes of a message that changes the subject: the room keeps it."
WEIGHT = 16_384
"Bytes of a message that count as one message more for its sender's pace."
CHANGES = 10
"Changes in one request that count as one message more."
MAX_REASON = 1024


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a session is that goes to another process."""

    token: str
    rooms: dict[Address, int | None]
    "See `xmpp.rooms.showing.Seat.rooms`."


class RoomDesk:
    """All rooms of one domain, for the clients of one process."""

    name = "Rooms"

    def __init__(self, router: XmppRouter, rooms: Rooms, domain: str, beside: str) -> None:
        self.router = router
        self.rooms = rooms
        self.domain = domain
        self.beside = beside
        self._key = f"{KEY} {domain}"
        self._seats: dict[str, Seat] = {}
        "By token."
        self._paces: dict[str, Paces] = {}
        self._showing = Showing(self._seats.get, self._has_left, self._blocks)

    # --- from the bus -----------------------------------------------------------------------------------

    def hear(self, envelope: RoomChanged) -> None:
        """The next envelope about a room of ours."""
        shown = self.rooms.receive(envelope)
        if shown is None:
            return
        self._showing.show(shown)
        if shown.missed:
            self.router.runtime.spawn(self._resync(envelope.room))

    async def _resync(self, room: Address) -> None:
        try:
            found = await self.rooms.resync(room)
        except Unavailable as error:
            log.warning("room_not_read", room=str(room), reason=str(error))
            return
        if found is not None:
            self._showing.refresh(*found)

    # --- from clients -----------------------------------------------------------------------------------

    async def receive(self, session: Session, stanza: Element, to: JID) -> None:
        """See `xmpp.hosted.Service`."""
        try:
            if stanza.name == "message":
                await self._message(session, stanza, to)
            elif stanza.name == "presence":
                await self._presence(session, stanza, to)
            else:
                await self._iq(session, stanza, to)
        except MembersOnly as refusal:
            raise StanzaError("registration-required", text=refusal.text) from None

    def seat(self, session: Session) -> Seat:
        """A session's, made at its first need."""
        found: Seat | None = session.extra.get(self._key)
        if found is None:
            found = Seat.of(session, secrets.token_urlsafe(9))
            session.extra[self._key] = found
            self._seats[found.token] = found
            policy = self.rooms.policy
            self._paces[found.token] = Paces(policy.rate, policy.burst, 2 * policy.joined)
        return found

    def closed(self, session: Session) -> None:
        """The session is over. A room it could not take along to another process is left."""
        seat: Seat | None = session.extra.get(self._key)
        if seat is not None and not seat.rooms:
            self._forget(seat)
        elif seat is not None and session.moved:
            for room in seat.rooms:
                self.router.runtime.spawn(self._leave(seat, E("presence", CLIENT_NS), room))

    def pack(self, session: Session) -> Place | None:
        """Where a session is, for the process it goes to."""
        seat: Seat | None = session.extra.get(self._key)
        return Place(seat.token, dict(seat.rooms)) if seat is not None and seat.rooms else None

    async def move(self, session: Session, place: Place) -> None:
        """It has come from another process."""
        seat = self.seat(session)
        seat.rooms.update(place.rooms)
        for room in place.rooms:
            await self._move(seat, room, place.token)

    async def _move(self, seat: Seat, room: Address, token: str) -> None:
        delay = FIRST_RETRY
        node, owner = self.rooms.node, self.rooms.owner
        while True:
            try:
                await self.rooms.act(room, lambda found: move(found, token, node, owner, seat.token))
                return
            except Refused:  # it was made to leave meanwhile, which the client is told by what follows
                self._has_left(seat, room)
                return
            except Unavailable:
                await self.router.runtime.sleep(delay)
                delay = min(2 * delay, LAST_RETRY)

    def _forget(self, seat: Seat) -> None:
        self._seats.pop(seat.token, None)
        self._paces.pop(seat.token, None)

    def _has_left(self, seat: Seat, room: Address) -> None:
        seat.rooms.pop(room, None)
        told = seat.session.availability.directed
        for name in [name for name, to in told.items() if to.bare == room]:
            del told[name]
        if seat.session.ended and not seat.rooms:
            self._forget(seat)

    def _blocks(self, seat: Seat, room: Address, nick: str) -> bool:
        """XEP-0191 §3.1, for what is said. Who is there is shown nevertheless."""
        blocking = self.router.service.blocking
        listed = blocking.known(seat.session.address)
        if listed is None:
            self.router.runtime.spawn(self._read_blocklist(seat))
            return False
        return listed.covers(room, nick)

    async def _read_blocklist(self, seat: Seat) -> None:
        with suppress(Unavailable):
            await self.router.service.blocking.of(seat.session.address)

    def _paced(self, seat: Seat, room: Address, weight: int = 1) -> None:
        """`weight`: it counts as so many messages."""
        if not self._paces[seat.token].allow(room, self.router.clock(), weight):
            raise StanzaError("policy-violation", "wait", "too many messages at once")

    # --- presence ---------------------------------------------------------------------------------------

    async def _presence(self, session: Session, stanza: Element, to: JID) -> None:
        kind = stanza.get("type")
        if not to.local or kind not in ("", "unavailable"):
            return
        seat = self.seat(session)
        if kind == "unavailable":
            await self._leave(seat, stanza, to.bare)
            return
        if not to.resource:
            raise StanzaError("jid-malformed", text="under which nickname?")
        self._paced(seat, to.bare)
        joining = stanza.find("x", MUC_NS)
        said = _without(stanza)
        shown = read_presence(said, "", lang=session.lang, now=self.router.clock())
        if size_of(shown) > MAX_PRESENCE:
            raise StanzaError("policy-violation", text=f"more than {MAX_PRESENCE} bytes")
        if joining is not None:
            await self._enter(seat, joining, to, shown)
        else:
            await self._present(seat, to, shown)

    async def _enter(self, seat: Seat, joining: Element, to: JID, shown: PresenceTuple) -> None:
        """§7.2."""
        room = to.bare
        there = room in seat.rooms
        if not there and len(seat.rooms) >= self.rooms.policy.joined:
            raise StanzaError("resource-constraint", text="in too many rooms at once")
        wish, characters = read_wish(joining, self.router.clock())
        password = joining.find("password")
        attendance = Attendance(
            address=seat.session.address,
            endpoint=seat.session.endpoint,
            token=seat.token,
            node=self.rooms.node,
            owner=self.rooms.owner,
            presence=shown,
        )
        entry = Entry(
            attendance=attendance,
            nick=to.resource,
            password=password.text if password is not None else "",
            wish=wish,
        )
        seat.rooms[room] = characters
        limit = self.rooms.policy.bounds.max_occupants
        usual = Configuration()
        usual = replace(usual, max_occupants=min(usual.max_occupants, limit))
        try:
            await self.rooms.enter(room, entry, usual)
        except (Refused, Unavailable):
            if not there:
                seat.rooms.pop(room, None)
            raise
        self.router.metrics.count("room_entries_total")

    async def _present(self, seat: Seat, to: JID, shown: PresenceTuple) -> None:
        """§7.6, §7.7; whoever is not there is told so (§7.2.1)."""

        def decide(room: Room | None) -> Step:
            mine = occupant(room, seat.token)
            assert room is not None
            if mine.nick == to.resource:
                return present(room, seat.token, shown)
            return rename(room, seat.token, to.resource, shown)

        try:
            await self.rooms.act(to.bare, decide)
        except Refused as refusal:
            if refusal.condition is not Condition.NOT_ACCEPTABLE:
                raise
            self._has_left(seat, to.bare)
            seat.send(write_kick(to.bare, to.resource), "presence")

    async def _leave(self, seat: Seat, stanza: Element, room: Address) -> None:
        """§7.14. A client that is gone for good leaves however long it takes."""
        said = _without(stanza)
        shown = read_presence(said, "", lang=seat.session.lang, now=self.router.clock())
        opaque = {OPAQUE: shown.opaque.get(OPAQUE, b"")}
        if size_of(shown) > MAX_PRESENCE:  # last words are no reason to stay
            shown, opaque = replace(shown, notes=()), {}
        delay = FIRST_RETRY
        while True:
            try:
                done = await self.rooms.act(
                    room, lambda found: leave(found, (seat.token,), notes=shown.notes, opaque=opaque)
                )
                if not done.events:  # it was not there; nothing will tell
                    self._has_left(seat, room)
                return
            except Unavailable:
                if not seat.session.ended:
                    raise
                await self.router.runtime.sleep(delay)
                delay = min(2 * delay, LAST_RETRY)

    # --- messages ---------------------------------------------------------------------------------------

    async def _message(self, session: Session, stanza: Element, to: JID) -> None:
        type_ = message_type(stanza)
        if type_ is MessageType.ERROR:
            return
        if not to.local:
            raise StanzaError("service-unavailable")
        seat = self.seat(session)
        if type_ is MessageType.GROUPCHAT:
            if to.resource:
                raise StanzaError("bad-request", text="to one occupant, groupchat is no type")
            await self._speak(seat, stanza, to)
        elif to.resource:
            await self._whisper(seat, stanza, to)
        else:
            self._paced(seat, to.bare)
            await self._to_the_room(seat, stanza, to.bare)

    def _read(self, seat: Seat, stanza: Element, to: JID) -> InstantMessage:
        service = self.router.service
        trace = service.new_trace()
        message = read_message(
            _without(stanza),
            sender=JID(to.local, to.domain, seat.session.jid.resource),
            to=JID.of(to.bare),
            lang=seat.session.lang,
            store=True,
            rules=self.router.registry,
            now=self.router.clock(),
            trace=trace,
        )
        texts = sum(len(text.text) + len(text.lang) for text in (*message.bodies, *message.subjects))
        size = len(message.opaque.get(OPAQUE, b"")) + texts + len(message.thread) + len(message.origin_id)
        most = self.rooms.policy.max_message
        if message.subjects and not message.bodies:
            most = min(most, MAX_WITH_SUBJECT)
        if size > most:
            raise StanzaError("policy-violation", text=f"more than {most} bytes")
        self._paced(seat, to.bare, 1 + size // WEIGHT)
        if sum(len(subject.text) for subject in message.subjects) > MAX_SUBJECT:
            raise StanzaError("policy-violation", text=f"a subject has at most {MAX_SUBJECT} characters")
        service.note(trace, "xmpp.in", to.bare, seat.session.address, seat.session.endpoint)
        return message

    async def _speak(self, seat: Seat, stanza: Element, to: JID) -> None:
        """§7.4, §8.1."""
        message = replace(self._read(seat, stanza, to), copied=False)
        lasting = message.archived

        def decide(room: Room | None) -> Step:
            return speak(room, seat.token, signed(message, room, seat), lasting=lasting)

        await self.rooms.act(to.bare, decide)
        self.router.metrics.count("room_messages_total")
        self.router.service.note(message.trace, "submitted", to.bare, seat.session.address, "room")

    async def _whisper(self, seat: Seat, stanza: Element, to: JID) -> None:
        """§7.5. What is said to somebody the sender's other clients hear, if they are here under the same
        nickname (XEP-0280 §6.1)."""
        read = self._read(seat, stanza, to)
        message = replace(read, archived=False, copied=False)
        others: list[JID] = []

        def decide(room: Room | None) -> Step:
            step = whisper(room, seat.token, to.resource, signed(message, room, seat))
            mine = occupant(room, seat.token)
            others[:] = [jid for each in mine.without([seat.token]) if (jid := place(each)) is not None]
            return step

        await self.rooms.act(to.bare, decide)
        if others and read.copied:
            await share(self.router, stanza, seat.session.jid, seat.session.jid, others, SENT)

    async def _to_the_room(self, seat: Seat, stanza: Element, room: Address) -> None:
        """Invitations, what they are answered with, and voices asked for."""
        user = stanza.find("x", USER_NS)
        invitations = user.findall("invite") if user is not None else []
        declined = user.find("decline") if user is not None else None
        if invitations:
            for each in invitations:
                self._paced(seat, room)
                await self._invite(seat, room, each)
        elif declined is not None:
            await self._decline(seat, room, declined)
        elif (asked := read_voice_form(stanza)) is not None:
            await self._voice(seat, room, *asked)
        else:
            raise StanzaError("bad-request", text="to the room itself, messages are groupchat")

    async def _invite(self, seat: Seat, room: Address, invitation: Element) -> None:
        """§7.8.2."""
        invited = _jid(invitation.get("to")).bare
        reason = _reason(invitation)
        if await self._unwanted(invited, seat):
            raise StanzaError("service-unavailable")
        await self.rooms.act(room, lambda found: invite(found, seat.token, invited, self.rooms.policy.bounds))
        found = await self.rooms.find(room)
        host = occupant(found, seat.token)
        anonymous = found.configuration.anonymous
        sender = f"{room}/{host.nick}" if anonymous else str(host.address)
        told = E("invite", USER_NS, {"from": sender})
        if reason:
            told.child("reason", text=reason)
        user = E("x", USER_NS, {}, told)
        direct = E("x", CONFERENCE_NS, {"jid": str(room)} | ({"reason": reason} if reason else {}))
        going_on = invitation.find("continue")
        if going_on is not None:  # §7.9: from a chat of two
            thread = going_on.get("thread")[:MAX_REASON]
            told.child("continue", attrs={"thread": thread} if thread else {})
            direct.attrs |= {"continue": "true"} | ({"thread": thread} if thread else {})
        password = found.configuration.password
        if password:
            user.child("password", text=password)
            direct.attrs["password"] = password
        await self._tell(room, invited, [user, direct], copied=True)

    async def _decline(self, seat: Seat, room: Address, declined: Element) -> None:
        """§7.8.2: whoever invited hears of it, if they are still there. Who declines does not learn whether
        they are: they need not be in the room."""
        to = _jid(declined.get("to"))
        found = await self.rooms.find(room)
        if found.affiliation(seat.session.address) is Affiliation.OUTCAST:
            return
        told = E("decline", USER_NS, {"from": str(seat.session.address)})
        if reason := _reason(declined):
            told.child("reason", text=reason)
        named = [found.occupants.get(to.resource)] if to.bare == room else found.here(to.bare)
        host = next(iter(named), None)
        if host is not None and not await self._unwanted(host.address, seat):
            with suppress(StanzaError, Refused):
                await self._tell(room, host.address, [E("x", USER_NS, {}, told)])

    async def _unwanted(self, to: Address, seat: Seat) -> bool:
        """Whoever they are in the room, the addressee blocks them (XEP-0191)."""
        sender = seat.session.jid
        return await self.router.service.blocking.blocks(to, sender.bare, sender.resource)

    async def _tell(
        self, room: Address, to: Address, payloads: list[Element], *, copied: bool = False
    ) -> None:
        """A message of the room to somebody who need not be there."""
        trace = self.router.service.new_trace()
        message = InstantMessage(
            id=trace,
            trace=trace,
            sender=room,
            recipient=to,
            kind=Kind.NORMAL,
            created=self.router.clock(),
            audience=Audience.XMPP,
            archived=False,
            copied=copied,
            opaque={OPAQUE: serialise_children(payloads)},
        )
        try:
            await self.router.service.submit(message)
        except Refused as refusal:
            if refusal.condition is Condition.ITEM_NOT_FOUND:  # as who blocks the room (RFC 6121 §8.5.1)
                raise StanzaError("service-unavailable") from None
            raise

    async def _voice(self, seat: Seat, room: Address, nick: str, allow: bool) -> None:
        """§7.13, §8.6."""
        if not nick:
            await self.rooms.act(room, lambda found: ask_for_voice(found, seat.token))
            return
        if not allow:
            return
        change = (GiveRole(nick=nick, role=Role.PARTICIPANT),)

        def decide(found: Room | None) -> Step:
            mine = occupant(found, seat.token)
            assert found is not None
            return administer(found, mine.address, seat.token, change, self.rooms.policy.bounds)

        await self.rooms.act(room, decide)

    # --- requests ---------------------------------------------------------------------------------------

    async def _iq(self, session: Session, stanza: Element, to: JID) -> None:
        seat = self.seat(session)
        request = RoomRequest(self.router, self.rooms, seat, stanza, to)
        if stanza.get("type") in ("result", "error"):
            await give_back(request)
            return
        payload = request.payload
        if not to.local or (stanza.get("type") == "set" and payload.ns not in MAM_FEATURES):
            self._paced(seat, to.bare, 1 + len(payload.elements) // CHANGES)
        if not to.local:
            await answer_service(request, self.domain)
        elif to.resource:
            await forward(request)
        else:
            await answer(request)


def signed(message: InstantMessage, room: Room | None, seat: Seat) -> InstantMessage:
    """With the nickname, and who it is for those who may know. Raises `Refused` for whoever is not there."""
    mine, room = speaker(room, seat.token)
    author = Author(mine.address, occupant_id(room.head, mine.address))
    return replace(
        message,
        sender_tuple=mine.nick,
        sender_endpoint="",
        opaque=message.opaque | {AUTHOR: encode_author(author)},
    )


def read_wish(joining: Element, now: float) -> tuple[Wish, int | None]:
    """How much was said before (§7.2.14), and in how many characters."""
    history = joining.find("history")
    if history is None:
        return Wish(), None
    number: Callable[[str], int | None] = lambda name: _number(history.get(name))  # noqa: E731
    seconds, since = number("seconds"), history.get("since")
    moments = [now - seconds] if seconds is not None else []
    if since and (moment := parse_stamp(since)) is not None:
        moments.append(moment)
    characters = number("maxchars")
    wish = Wish(messages=number("maxstanzas"), characters=characters, since=max(moments, default=None))
    return wish, characters


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _jid(text: str) -> JID:
    try:
        return parse_jid(text)
    except InvalidAddress:
        raise StanzaError("jid-malformed") from None


def _reason(element: Element) -> str:
    found = element.find("reason")
    return found.text[:MAX_REASON] if found is not None else ""


def _without(stanza: Element) -> Element:
    """A client's stanza without what only a room says (XEP-0421 §4, XEP-0203)."""

    def forged(child: Element) -> bool:
        if child.ns in (MUC_NS, USER_NS, OCCUPANT_NS):
            return True
        return child.ns == DELAY_NS

    kept = [child for child in stanza.children if not (isinstance(child, Element) and forged(child))]
    return Element(stanza.name, stanza.ns, stanza.attrs, kept)
