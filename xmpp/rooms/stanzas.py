"""What those in a room are sent (XEP-0045), each written once for all who see the same."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from presence.address import Address
from presence.messages import InstantMessage
from presence.model import PresenceTuple, Text
from presence.rooms.events import Departure, Destroyed, Left
from presence.rooms.model import Affiliation, Occupant, Role, author_of, occupant_id
from presence.rooms.model import Room as RoomState
from xmpp.element import CLIENT_NS
from xmpp.message import FORWARD_NS, SID_NS, write_content
from xmpp.presence import DELAY_NS, OPAQUE, Addressable, write_presence
from xmpp.rooms.names import OCCUPANT_NS, USER_NS, VCARD_UPDATE_NS
from xmpp.serialiser import escape_attribute, escape_text
from xmpp.timestamps import stamp

SELF = 110
OPEN_ROOM = 100
ARCHIVED = 170
CREATED = 201
RENAMED = 303
DEPARTURES: dict[Departure, tuple[int, ...]] = {
    Departure.LEFT: (),
    Departure.KICKED: (307,),
    Departure.BANNED: (301,),
    Departure.DISMISSED: (321,),
    Departure.NOT_MEMBER: (322,),
    Departure.LOST: (333,),
}
"Status codes by why somebody left (§15.6.2)."


def write_item(
    affiliation: Affiliation,
    role: Role,
    *,
    jid: str = "",
    nick: str = "",
    actor: str = "",
    reason: str = "",
) -> str:
    """`<item/>` of an occupant (§7.2.2)."""
    out = [f"<item affiliation='{affiliation.value}' role='{role.value}'"]
    if jid:
        out.append(f" jid='{escape_attribute(jid)}'")
    if nick:
        out.append(f" nick='{escape_attribute(nick)}'")
    inner = f"<actor nick='{escape_attribute(actor)}'/>" if actor else ""
    inner += f"<reason>{escape_text(reason)}</reason>" if reason else ""
    out.append(f">{inner}</item>" if inner else "/>")
    return "".join(out)


def write_user(*parts: str, statuses: Iterable[int] = ()) -> str:
    """`<x/>` with items, a destruction, and status codes."""
    codes = "".join(f"<status code='{code}'/>" for code in statuses)
    return f"<x xmlns='{USER_NS}'>{''.join(parts)}{codes}</x>"


def write_occupant_id(id: str) -> str:
    """XEP-0421 §3."""
    return f"<occupant-id xmlns='{OCCUPANT_NS}' id='{id}'/>"


def endpoint_jid(address: Address, endpoint: str) -> str:
    """An attendance's full JID; a phone has none."""
    kind, _, resource = endpoint.partition(":")
    return f"{address}/{resource}" if kind == "xmpp" else str(address)


def real_jid(occupant: Occupant) -> str:
    return endpoint_jid(occupant.address, occupant.attendances[-1].endpoint)


def _presence(room: Address, nick: str, shown: PresenceTuple, more: str) -> Addressable:
    extras = shown.opaque.get(OPAQUE, b"") + more.encode()
    return write_presence(room, replace(shown, id=nick, priority=None, opaque={OPAQUE: extras}))


def write_occupant(
    room: RoomState,
    occupant: Occupant,
    *,
    reveal: bool,
    statuses: Iterable[int] = (),
    actor: str = "",
    reason: str = "",
) -> Addressable:
    """Somebody who is there. `reveal`: with who it is."""
    item = write_item(
        room.affiliation(occupant.address),
        occupant.role,
        jid=real_jid(occupant) if reveal else "",
        actor=actor,
        reason=reason,
    )
    id = write_occupant_id(occupant_id(room.head, occupant.address))
    more = write_user(item, statuses=statuses) + id
    return _presence(room.address, occupant.nick, occupant.presence, more)


def write_briefly(room: RoomState, occupant: Occupant, *, reveal: bool) -> Addressable:
    """Somebody who is there, without what they say of themselves but the show."""
    shown = PresenceTuple(id="", show=occupant.presence.show, opaque={OPAQUE: b""})
    last = replace(occupant.attendances[-1], presence=shown)
    return write_occupant(room, replace(occupant, attendances=(last,)), reveal=reveal)


def write_left(room: RoomState, left: Left, *, reveal: bool, own: bool = False) -> Addressable:
    """Somebody who is not there any more."""
    occupant = left.occupant
    item = write_item(
        left.affiliation,
        Role.NONE,
        jid=real_jid(occupant) if reveal else "",
        actor=left.by,
        reason=left.reason,
    )
    statuses = (*([SELF] if own else []), *DEPARTURES[left.why])
    more = write_user(item, statuses=statuses) + write_occupant_id(occupant_id(room.head, occupant.address))
    gone = PresenceTuple(id="", open=False, notes=left.notes, opaque=left.opaque)
    return _presence(room.address, occupant.nick, gone, more)


def write_renamed(room: RoomState, before: Occupant, nick: str, *, reveal: bool, own: bool) -> Addressable:
    """The first half of another nickname (§7.6)."""
    affiliation = room.affiliation(before.address)
    item = write_item(affiliation, before.role, jid=real_jid(before) if reveal else "", nick=nick)
    more = write_user(item, statuses=(RENAMED, SELF) if own else (RENAMED,))
    more += write_occupant_id(occupant_id(room.head, before.address))
    return _presence(room.address, before.nick, PresenceTuple(id="", open=False), more)


def write_destroyed(room: Address, nick: str, event: Destroyed) -> Addressable:
    """§10.9: to each under their own nickname."""
    inner = f"<password>{escape_text(event.password)}</password>" if event.password else ""
    inner += f"<reason>{escape_text(event.reason)}</reason>" if event.reason else ""
    alternate = f" jid='{escape_attribute(str(event.alternate))}'" if event.alternate is not None else ""
    item = write_item(Affiliation.NONE, Role.NONE)
    more = write_user(item, f"<destroy{alternate}>{inner}</destroy>", statuses=(SELF,))
    return _presence(room, nick, PresenceTuple(id="", open=False), more)


def write_picture(room: RoomState) -> Addressable:
    """The room's own presence, with its picture's hash (XEP-0486 §3, XEP-0153)."""
    head = f"<presence from='{escape_attribute(str(room.address))}' to='".encode()
    photo = f"<photo>{room.head.picture}</photo>"
    return Addressable(head, f"'><x xmlns='{VCARD_UPDATE_NS}'>{photo}</x></presence>".encode())


def write_kick(room: Address, nick: str) -> Addressable:
    """To a client that believes it is there (§7.2.1)."""
    notes = (Text("You are not in the room.", "en"),)
    more = write_user(write_item(Affiliation.NONE, Role.NONE), statuses=(SELF, 307, 333))
    return _presence(room, nick, PresenceTuple(id="", open=False, notes=notes), more)


# --- messages ----------------------------------------------------------------------------------------


def write_said(message: InstantMessage, *, delayed: bool = False, more: str = "") -> Addressable:
    """What was said, by somebody or by the room, with the room's id for it (XEP-0359)."""
    room = escape_attribute(str(message.recipient))
    sender = str(message.recipient)
    if message.sender_tuple:
        sender += f"/{message.sender_tuple}"
    out = ["'"]
    write_content(message, out)
    author = author_of(message)
    end = [write_occupant_id(author.occupant)] if author is not None and message.sender_tuple else []
    if message.archived:
        end.append(f"<stanza-id xmlns='{SID_NS}' by='{room}' id='{message.id}'/>")
    if delayed:
        end.append(f"<delay xmlns='{DELAY_NS}' from='{room}' stamp='{stamp(message.created)}'/>")
    end.append(more)
    end.append("</message>")
    head = f"<message from='{escape_attribute(sender)}' to='".encode()
    return Addressable(head, "".join(out).encode() + message.opaque.get(OPAQUE, b"") + "".join(end).encode())


def write_archived(message: InstantMessage, at: float, *, reveal: bool) -> bytes:
    """A message of the room's archive (XEP-0313 §5.1.2, XEP-0297). `reveal`: with whose it was."""
    author = author_of(message)
    more = ""
    if reveal and author is not None and message.sender_tuple:
        more = write_user(f"<item jid='{escape_attribute(str(author.address))}'/>")
    said = write_said(message, more=more)
    inner = said.head.removeprefix(b"<message").removesuffix(b" to='") + said.tail.removeprefix(b"'")
    start = f"<forwarded xmlns='{FORWARD_NS}'><delay xmlns='{DELAY_NS}' stamp='{stamp(at)}'/>"
    return f"{start}<message xmlns='{CLIENT_NS}'".encode() + inner + b"</forwarded>"


def write_no_subject(room: Address) -> Addressable:
    """§7.2.15: the last of what whoever enters is sent."""
    head = f"<message from='{escape_attribute(str(room))}' to='".encode()
    return Addressable(head, b"' type='groupchat'><subject/></message>")


def write_notice(
    room: Address, *parts: str, statuses: Iterable[int] = (), groupchat: bool = True
) -> Addressable:
    """What the room tells of itself (§10.2.1, §9.3)."""
    head = f"<message from='{escape_attribute(str(room))}' to='".encode()
    type_ = " type='groupchat'" if groupchat else ""
    return Addressable(head, f"'{type_}>{write_user(*parts, statuses=statuses)}</message>".encode())


def characters(data: bytes) -> int:
    """As `maxchars` counts them: of the whole stanza (§7.2.14)."""
    return len(data.decode(errors="replace"))
