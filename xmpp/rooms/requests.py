"""IQs to rooms: who they are (XEP-0030), what owners and admins want (XEP-0045 §9, §10), and the rest."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from presence.address import Address
from presence.errors import InvalidAddress
from presence.rooms.administration import Change, GiveAffiliation, GiveRole, administer
from presence.rooms.decisions import Step, abandon, configure, destroy, occupant, register, unregister
from presence.rooms.model import Affiliation, Attendance, Occupant, Role, Room, place_mark
from presence.rooms.privileges import check_owner, check_registration, may_list
from presence.rooms.service import Rooms
from xmpp import iq
from xmpp.element import CLIENT_NS, E, Element
from xmpp.errors import StanzaError
from xmpp.extensions.xep_0059_result_sets import read_page_request, write_page
from xmpp.forms import NS as FORM_NS
from xmpp.forms import offer_field, offer_form, read_submission, write_form
from xmpp.hosted import INFO_NS, ITEMS_NS, PING_NS, write_info
from xmpp.jid import JID, parse_jid, parse_resource
from xmpp.message import SID_NS
from xmpp.reader import parse_fragment
from xmpp.relay import Carried, carry
from xmpp.rooms.configuration import read_configuration, write_configuration
from xmpp.rooms.names import (
    ADMIN_NS,
    CONFIG_NS,
    INFO_FORM_NS,
    MUC_NS,
    OCCUPANT_NS,
    OWNER_NS,
    REGISTER_FORM_NS,
    REGISTER_NS,
    REQUEST_NS,
    STABLE_ID,
    TRAFFIC,
    VCARD_NS,
)
from xmpp.rooms.showing import Seat
from xmpp.rooms.stanzas import endpoint_jid, real_jid
from xmpp.serialiser import serialise

if TYPE_CHECKING:
    from xmpp.router import XmppRouter
    from xmpp.session import Session

RSM_NS = "http://jabber.org/protocol/rsm"
ROOM_NICK = "x-roomuser-item"
"Node by which somebody asks for the nickname reserved for them (§7.12)."
USUAL_PAGE, LARGEST_PAGE = 100, 500
MAX_CHANGES = 200
MAX_REASON = 1024
MAX_ID = 1024
FORMS = (CONFIG_NS, INFO_FORM_NS, REGISTER_FORM_NS, REQUEST_NS)
ALWAYS = (INFO_NS, ITEMS_NS, MUC_NS, PING_NS, OCCUPANT_NS, SID_NS, REGISTER_NS, STABLE_ID, *FORMS)
SUBJECT_FACTS = ("muc#roominfo_subjectmod", "muc#roomconfig_changesubject", "muc#roominfo_changesubject")
"The last one is how an example once had it, and what some clients read."
MAM_FEATURES = ("urn:xmpp:mam:2", "urn:xmpp:mam:2#extended")


@dataclass(frozen=True, slots=True)
class RoomRequest:
    router: XmppRouter
    rooms: Rooms
    seat: Seat
    stanza: Element
    to: JID

    @property
    def session(self) -> Session:
        return self.seat.session

    @property
    def room(self) -> Address:
        return self.to.bare

    @property
    def payload(self) -> Element:
        return iq.payload(self.stanza)

    @property
    def asker(self) -> Address:
        return self.session.address

    async def find(self) -> Room:
        """The room. Raises `Refused` ITEM_NOT_FOUND."""
        return await self.rooms.find(self.room)

    async def change(self, decide: Callable[[Room], Step]) -> Step:
        """Do something to the room. Raises `Refused`."""

        def decide_on(found: Room | None) -> Step:
            if found is None:
                raise StanzaError("item-not-found")
            return decide(found)

        return await self.rooms.act(self.room, decide_on)


Answer = Callable[[RoomRequest], Awaitable[Element | None]]


async def answer(request: RoomRequest) -> None:
    """One to the room itself."""
    payload = request.payload
    asked = (request.stanza.get("type"), payload.ns, payload.name)
    handle = ANSWERS.get(asked) or request.router.registry.room_iq.get(asked)
    if handle is None:
        raise StanzaError("service-unavailable")
    await _reply(request, await handle(request))


async def answer_service(request: RoomRequest, domain: str) -> None:
    """One to the domain of rooms."""
    payload = request.payload
    match request.stanza.get("type"), payload.ns, payload.name:
        case "get", ns, "query" if ns == INFO_NS and not payload.get("node"):
            features = {INFO_NS, ITEMS_NS, MUC_NS, PING_NS, RSM_NS, OCCUPANT_NS, SID_NS}
            result: Element | None = write_info(("conference", "text"), "Rooms", features)
        case "get", ns, "query" if ns == ITEMS_NS and not payload.get("node"):
            result = await _list(request, domain)
        case "get", ns, "ping" if ns == PING_NS:
            result = None
        case _, ns, _ if ns in (INFO_NS, ITEMS_NS):
            raise StanzaError("item-not-found")
        case _:
            raise StanzaError("service-unavailable")
    await _reply(request, result)


async def _reply(request: RoomRequest, result: Element | None) -> None:
    answer = iq.write_result(request.stanza, result)
    request.session.send(answer, "iq")
    request.session.charge(len(answer))


async def _list(request: RoomRequest, domain: str) -> Element:
    """§6.3: the rooms that are listed, page by page (XEP-0059)."""
    page = read_page_request(request.payload, by_index=True)
    listed = await request.rooms.listing(domain)
    names = [str(each.room) for each in listed]
    begin, end = min(page.index or 0, len(listed)), len(listed)
    if page.after:
        begin = next((i for i, name in enumerate(names) if name > page.after), end)
    if page.before:
        end = next((i for i, name in enumerate(names) if name >= page.before), end)
    wanted = request.payload.find("set", RSM_NS)
    limit = min(page.max if page.max is not None else LARGEST_PAGE, LARGEST_PAGE)
    if page.backwards:
        begin = max(begin, end - limit)
    chosen = listed[begin : min(end, begin + limit)]
    query = E("query", ITEMS_NS)
    for each in chosen:
        name = each.name or each.room.local
        query.child("item", attrs={"jid": str(each.room), "name": name})
    if wanted is not None or len(chosen) < len(listed):
        first, last = (str(chosen[0].room), str(chosen[-1].room)) if chosen else ("", "")
        query.append(write_page(first, last, len(listed), begin))
    return query


# --- who a room is -----------------------------------------------------------------------------------


async def _info(request: RoomRequest) -> Element:
    """§6.4."""
    room = await request.find()
    node = request.payload.get("node")
    if node == ROOM_NICK:
        query = E("query", INFO_NS, {"node": ROOM_NICK})
        mine = room.affiliated.get(request.asker)
        if mine is not None and mine.nick:
            query.child("identity", attrs={"category": "conference", "type": "text", "name": mine.nick})
        return query
    if node == TRAFFIC:  # nothing of what clients add is discarded (§18.1.1)
        raise StanzaError("service-unavailable")
    if node:
        raise StanzaError("item-not-found")
    configuration = room.configuration
    features = {
        *ALWAYS,
        *request.router.registry.room_features,
        "muc_persistent" if configuration.persistent else "muc_temporary",
        "muc_public" if configuration.public else "muc_hidden",
        "muc_membersonly" if configuration.members_only else "muc_open",
        "muc_moderated" if configuration.moderated else "muc_unmoderated",
        "muc_semianonymous" if configuration.anonymous else "muc_nonanonymous",
        "muc_passwordprotected" if configuration.password else "muc_unsecured",
        *(MAM_FEATURES if request.router.service.history is not None and configuration.archived else ()),
    }
    facts = {
        "muc#roominfo_description": [configuration.description],
        "muc#roominfo_occupants": [str(len(room.occupants))],
        "muc#roominfo_lang": [configuration.language],
        **{name: ["1" if configuration.subject_by_participants else "0"] for name in SUBJECT_FACTS},
        "muc#roomconfig_roomname": [configuration.name],
        "muc#maxhistoryfetch": [str(configuration.history)],
        "muc#roomconfig_allowinvites": ["1" if configuration.invitations_by_anyone else "0"],
        "muc#roomconfig_allowpm": [configuration.whispering.value],
    }
    subject = room.head.subject
    if subject is not None and not configuration.members_only and not configuration.password:
        facts["muc#roominfo_subject"] = [subject.subjects[0].text]
    if room.head.card:
        facts["muc#roominfo_avatarhash"] = [room.head.picture]
    if configuration.public:
        owners = room.with_affiliation(Affiliation.OWNER)
        facts["muc#roominfo_contactjid"] = [] if configuration.anonymous else [str(o.address) for o in owners]
    form = write_form("result", INFO_FORM_NS, {name: values for name, values in facts.items() if any(values)})
    name = configuration.name or room.address.local
    return write_info(("conference", "text"), name, features, [form])


async def _items(request: RoomRequest) -> Element:
    """§6.5: occupants see who is there."""
    room = await request.find()
    if request.payload.get("node"):
        raise StanzaError("item-not-found")
    query = E("query", ITEMS_NS)
    mine = room.by_token(request.seat.token)
    if mine is not None:
        shown = room.configuration.broadcast
        for nick, other in room.occupants.items():
            if other.role in shown or other is mine or mine.role is Role.MODERATOR:
                query.child("item", attrs={"jid": f"{room.address}/{nick}"})
    return query


async def _ping(request: RoomRequest) -> None:
    await request.find()


# --- admins ------------------------------------------------------------------------------------------


async def _administer(request: RoomRequest) -> None:
    items = request.payload.findall("item")
    if not items or len(items) > MAX_CHANGES:
        raise StanzaError("bad-request", text=f"1 to {MAX_CHANGES} items are wanted")
    changes = tuple(_change(item) for item in items)
    token, bounds = request.seat.token, request.rooms.policy.bounds
    await request.change(lambda room: administer(room, request.asker, token, changes, bounds))


def _change(item: Element) -> Change:
    found = item.find("reason")
    reason = found.text[:MAX_REASON] if found is not None else ""
    role, affiliation, nick = item.get("role"), item.get("affiliation"), item.get("nick")
    try:
        if nick:
            nick = parse_resource(nick)
        if role and affiliation:
            raise StanzaError("bad-request", text="a role or an affiliation, not both")
        if role:
            if not nick:
                raise StanzaError("bad-request", text="roles are given to nicknames")
            return GiveRole(nick=nick, role=Role(role), reason=reason)
        standing = Affiliation(affiliation)
        if item.get("jid"):
            address = parse_jid(item.get("jid")).bare
            return GiveAffiliation(address=address, affiliation=standing, reason=reason, reserve=nick)
        if not nick:
            raise StanzaError("bad-request", text="whose affiliation?")
        return GiveAffiliation(nick=nick, affiliation=standing, reason=reason)
    except InvalidAddress:
        raise StanzaError("jid-malformed") from None
    except ValueError:
        raise StanzaError("bad-request", text="no such role or affiliation") from None


async def _list_people(request: RoomRequest) -> Element:
    """Whom an affiliation or a role is given to."""
    room = await request.find()
    items = request.payload.findall("item")
    if len(items) != 1:
        raise StanzaError("bad-request", text="one item is wanted")
    mine = room.by_token(request.seat.token)
    role = mine.role if mine is not None else Role.NONE
    affiliation = room.affiliation(request.asker)
    query = E("query", ADMIN_NS)
    try:
        if items[0].get("affiliation"):
            wanted = Affiliation(items[0].get("affiliation"))
            if not may_list(affiliation, role, wanted, room.configuration):
                raise StanzaError("forbidden")
            for each in room.with_affiliation(wanted):
                attrs = {"affiliation": wanted.value, "jid": str(each.address)}
                query.child("item", attrs=attrs | ({"nick": each.nick} if each.nick else {}))
                if each.reason and affiliation.rank >= Affiliation.ADMIN.rank:
                    query.elements[-1].child("reason", text=each.reason)
            return query
        listed = Role(items[0].get("role"))
    except ValueError:
        raise StanzaError("bad-request", text="no such role or affiliation") from None
    if role is not Role.MODERATOR and affiliation.rank < Affiliation.ADMIN.rank:
        raise StanzaError("forbidden")
    for there in room.occupants.values():
        if there.role is listed:
            standing = room.affiliation(there.address).value
            attrs = {"role": listed.value, "nick": there.nick, "affiliation": standing}
            query.child("item", attrs={**attrs, "jid": real_jid(there)})
    return query


# --- owners ------------------------------------------------------------------------------------------


async def _offer_configuration(request: RoomRequest) -> Element:
    room = await request.find()
    check_owner(room.affiliation(request.asker))
    return E("query", OWNER_NS, {}, write_configuration(room, request.rooms.policy.bounds))


async def _own(request: RoomRequest) -> None:
    """§10.1, §10.2, §10.9."""
    query = request.payload
    end = query.find("destroy")
    if end is not None:
        await _destroy(request, end)
        return
    form = query.find("x", FORM_NS)
    if form is None:
        raise StanzaError("bad-request", text="a form or a destruction is wanted")
    if form.get("type") == "cancel":
        await request.change(lambda room: abandon(room, request.asker))
        return
    fields = read_submission(query, CONFIG_NS) if form.elements else {}

    def decide(room: Room) -> Step:
        check_owner(room.affiliation(request.asker))
        configuration, people = read_configuration(room, fields)
        return configure(room, request.asker, configuration, request.rooms.policy.bounds, people)

    await request.change(decide)


async def _destroy(request: RoomRequest, end: Element) -> None:
    alternate = None
    if end.get("jid"):
        try:
            alternate = parse_jid(end.get("jid")).bare
        except InvalidAddress:
            raise StanzaError("jid-malformed") from None
    reason, password = end.find("reason"), end.find("password")
    said = reason.text[:MAX_REASON] if reason is not None else ""
    secret = password.text[:MAX_REASON] if password is not None else ""
    await request.change(lambda room: destroy(room, request.asker, said, alternate, secret))
    await request.router.service.belongings.discard(request.room, "vcard")


# --- nicknames for good (§7.10, XEP-0077) -------------------------------------------------------------


async def _offer_registration(request: RoomRequest) -> Element:
    room = await request.find()
    query = E("query", REGISTER_NS)
    mine = room.affiliated.get(request.asker)
    if mine is not None and mine.nick:
        query.child("registered")
        query.child("username", text=mine.nick)
        return query
    check_registration(room.configuration, room.affiliation(request.asker))
    query.child("instructions", text="Choose the nickname that is to be yours in this room.")
    nick = offer_field("text-single", "muc#register_roomnick", E("required", FORM_NS))
    nick.attrs["label"] = "Nickname"
    return query.append(offer_form(REGISTER_FORM_NS, [nick]))


async def _register(request: RoomRequest) -> None:
    query = request.payload
    if query.find("remove") is not None:
        await request.change(lambda room: unregister(room, request.asker))
        return
    fields = read_submission(query, REGISTER_FORM_NS)
    wanted = "".join(fields.get("muc#register_roomnick", []))
    if not wanted:
        simple = query.find("username") or query.find("nick")
        wanted = simple.text if simple is not None else ""
    if not wanted:
        raise StanzaError("bad-request", text="which nickname?")
    try:
        nick = parse_resource(wanted)
    except InvalidAddress:
        raise StanzaError("bad-request", text="no nickname can be this") from None
    await request.change(lambda room: register(room, request.asker, nick, request.rooms.policy.bounds))


# --- between occupants (§7.5.1 and XEP-0410) ------------------------------------------------------------


async def forward(request: RoomRequest) -> None:
    """A request to an occupant; what is asked of oneself is answered here."""
    payload = request.payload
    room = await request.find()
    mine = occupant(room, request.seat.token)
    other = room.occupants.get(request.to.resource)
    asked = request.stanza.get("type"), payload.ns, payload.name
    if other is None:
        raise StanzaError("item-not-found")
    if asked == ("get", PING_NS, "ping") and other.nick == mine.nick:
        await _reply(request, None)
    elif asked == ("get", VCARD_NS, "vCard"):
        await _reply(request, await _card(request, other.address))
    else:
        await _pass_on(request, room, mine, other)


async def _card(request: RoomRequest, owner: Address) -> Element:
    found = await request.router.service.belongings.kept(owner, "vcard", "")
    if not found:
        raise StanzaError("item-not-found")
    (card,) = parse_fragment(found[0].data)
    return card


async def _pass_on(request: RoomRequest, room: Room, mine: Occupant, other: Occupant) -> None:
    """From the asker's place in the room; its id says where the answer goes."""
    stanza = request.stanza
    if len(stanza.get("id")) > MAX_ID:
        raise StanzaError("bad-request", text="the id is too long")
    sender = JID(request.to.local, request.to.domain, mine.nick)
    to = place(other.attendances[-1])
    if to is None:
        raise StanzaError("service-unavailable")
    attrs = {
        **stanza.attrs,
        "from": sender.full,
        "to": to.full,
        "id": f"{place_mark(room.head, request.seat.token)} {stanza.get('id')}",
    }
    question = Element("iq", CLIENT_NS, attrs, stanza.children)
    if not await request.router.pass_on(carry(question, sender, to), to):
        raise StanzaError("recipient-unavailable")


async def give_back(request: RoomRequest) -> None:
    """An occupant's answer goes to the client that asked."""
    mark, _, id = request.stanza.get("id").partition(" ")
    room = request.rooms.known(request.room)
    if room is None or not id:
        return
    mine, asking = room.by_token(request.seat.token), room.occupants.get(request.to.resource)
    if mine is None or asking is None:
        return
    places = (each for each in asking.attendances if place_mark(room.head, each.token) == mark)
    where = next(places, None)
    to = place(where) if where is not None else None
    if to is None:
        return
    sender = JID(request.to.local, request.to.domain, mine.nick)
    attrs = {**request.stanza.attrs, "from": sender.full, "to": to.full, "id": id}
    result = Element("iq", CLIENT_NS, attrs, request.stanza.children)
    data = serialise(result, CLIENT_NS).encode()
    carried = Carried("iq", request.stanza.get("type"), sender.full, to.full, id, data)
    await request.router.pass_on(carried, to)


def place(attendance: Attendance) -> JID | None:
    """Where XMPP reaches it."""
    if not attendance.endpoint.startswith("xmpp:"):
        return None
    return parse_jid(endpoint_jid(attendance.address, attendance.endpoint))


ANSWERS: dict[tuple[str, str, str], Answer] = {
    ("get", INFO_NS, "query"): _info,
    ("get", ITEMS_NS, "query"): _items,
    ("get", PING_NS, "ping"): _ping,
    ("get", ADMIN_NS, "query"): _list_people,
    ("set", ADMIN_NS, "query"): _administer,
    ("get", OWNER_NS, "query"): _offer_configuration,
    ("set", OWNER_NS, "query"): _own,
    ("get", REGISTER_NS, "query"): _offer_registration,
    ("set", REGISTER_NS, "query"): _register,
}
"What XEP-0045 has a room answer. Other specifications add theirs (`Extension.room_iq`)."
