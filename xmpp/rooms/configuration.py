"""A room's configuration as a form (XEP-0045 §10.1, §10.2, §15.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from presence.address import Address
from presence.errors import InvalidAddress
from presence.rooms.decisions import Bounds
from presence.rooms.model import PRESENT, Affiliated, Affiliation, Configuration, Room, Whispering
from xmpp.element import E, Element
from xmpp.errors import StanzaError
from xmpp.forms import NS, offer_field, offer_form
from xmpp.jid import parse_jid
from xmpp.rooms.names import CONFIG_NS

MAX_TEXT = 4096
WHOIS = {"moderators": True, "anyone": False}
NONE_IS_A_VALUE = ("text-private", "list-multi")
TRUE, FALSE = ("1", "true"), ("0", "false")


@dataclass(frozen=True, slots=True)
class Field:
    var: str
    type: str
    label: str
    name: str
    "Of the field of `Configuration`."
    options: tuple[str, ...] = ()


FIELDS = (
    Field("muc#roomconfig_roomname", "text-single", "Name", "name"),
    Field("muc#roomconfig_roomdesc", "text-single", "Description", "description"),
    Field("muc#roomconfig_lang", "text-single", "Language", "language"),
    Field("muc#roomconfig_persistentroom", "boolean", "Stays when nobody is there", "persistent"),
    Field("muc#roomconfig_publicroom", "boolean", "Is listed", "public"),
    Field("muc#roomconfig_membersonly", "boolean", "For members only", "members_only"),
    Field("muc#roomconfig_moderatedroom", "boolean", "Only those with a voice speak", "moderated"),
    Field("muc#roomconfig_passwordprotectedroom", "boolean", "Has a password", "protected"),
    Field("muc#roomconfig_roomsecret", "text-private", "Password", "password"),
    Field("muc#roomconfig_whois", "list-single", "Who sees who is who", "anonymous", tuple(WHOIS)),
    Field("muc#roomconfig_maxusers", "list-single", "People at most", "max_occupants"),
    Field("muc#maxhistoryfetch", "text-single", "Messages shown to who enters, at most", "history"),
    Field("muc#roomconfig_changesubject", "boolean", "All change the subject", "subject_by_participants"),
    Field("muc#roomconfig_allowinvites", "boolean", "All invite", "invitations_by_anyone"),
    Field(
        "muc#roomconfig_allowpm",
        "list-single",
        "Who sends private messages",
        "whispering",
        tuple(each.value for each in Whispering),
    ),
    Field("muc#roomconfig_enablearchiving", "boolean", "Messages are kept", "archived"),
    Field("muc#roomconfig_presencebroadcast", "list-multi", "Who is seen to be there", "broadcast", PRESENT),
    Field("muc#roomconfig_getmemberlist", "list-multi", "Who sees the member list", "member_list", PRESENT),
)
ALIASES = {
    "muc#roomconfig_enablelogging": "muc#roomconfig_enablearchiving",
    "muc#roomconfig_historylength": "muc#maxhistoryfetch",
}
"Other names clients know fields by."
PEOPLE = {"muc#roomconfig_roomadmins": Affiliation.ADMIN, "muc#roomconfig_roomowners": Affiliation.OWNER}
SIZES = (10, 20, 50, 100, 200, 500, 1000)
_BY_VAR = {field.var: field for field in FIELDS}


def write_configuration(room: Room, bounds: Bounds) -> Element:
    """The form as the room is configured now."""
    configuration = room.configuration
    fields = []
    for field in FIELDS:
        values = [E("value", NS, {}, text) for text in _texts(field, configuration)]
        offered = offer_field(field.type, field.var, *values)
        offered.attrs["label"] = field.label
        options = field.options
        if field.name == "max_occupants":
            sizes = {each for each in SIZES if each <= bounds.max_occupants}
            options = tuple(map(str, sorted(sizes | {configuration.max_occupants})))
        for option in options:
            offered.append(E("option", NS, {"label": option}, E("value", NS, {}, option)))
        fields.append(offered)
    for var, affiliation in PEOPLE.items():
        people = room.with_affiliation(affiliation)
        values = [E("value", NS, {}, str(each.address)) for each in people]
        label = "Admins" if affiliation is Affiliation.ADMIN else "Owners"
        offered = offer_field("jid-multi", var, *values)
        offered.attrs["label"] = label
        fields.append(offered)
    form = offer_form(CONFIG_NS, fields)
    form.children.insert(0, E("title", NS, {}, f"Configuration of {room.address}"))
    return form


def _texts(field: Field, configuration: Configuration) -> tuple[str, ...]:
    if field.name == "protected":
        return ("1" if configuration.password else "0",)
    value = getattr(configuration, field.name)
    if field.type == "list-multi":
        return tuple(value)
    if field.name == "anonymous":
        return ("moderators" if value else "anyone",)
    if isinstance(value, bool):
        return ("1" if value else "0",)
    return (str(value),)


def read_configuration(
    room: Room, fields: dict[str, list[str]]
) -> tuple[Configuration, tuple[Affiliated, ...]]:
    """What the owner wants: the room's configuration with what the form says, and changed lists of people.

    Unknown fields are ignored, as forms of other servers are sent back whole. Raises `StanzaError`.
    """
    fields = {ALIASES.get(var, var): values for var, values in fields.items()}
    chosen: dict[str, Any] = {}
    for var, values in fields.items():
        if (field := _BY_VAR.get(var)) is not None and (values or field.type in NONE_IS_A_VALUE):
            chosen[field.name] = _value(field, values)
    protected = chosen.pop("protected", None)
    if protected is False:
        chosen["password"] = ""
    configuration = replace(room.configuration, **chosen)
    if protected and not configuration.password:
        raise StanzaError("not-acceptable", text="a room with a password needs one")
    return configuration, _people(room, fields)


def _value(field: Field, values: Sequence[str]) -> Any:
    if field.type == "list-multi":
        if not set(values) <= set(field.options):
            raise StanzaError("bad-request", text=f"{field.var} is some of {', '.join(field.options)}")
        return tuple(role for role in PRESENT if role.value in values)
    text = values[0] if values else ""
    if len(text) > MAX_TEXT or (field.type != "text-single" and len(values) > 1):
        raise StanzaError("bad-request", text=f"{field.var}: too much")
    if field.type == "boolean":
        if text not in TRUE + FALSE:
            raise StanzaError("bad-request", text=f"{field.var} is a boolean")
        return text in TRUE
    if field.name in ("max_occupants", "history"):
        if field.name == "max_occupants" and text in ("", "none"):
            return 1 << 20  # as many as may be
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise StanzaError("bad-request", text=f"{field.var} is a number")
        return int(text)
    if field.options and text not in field.options:
        raise StanzaError("bad-request", text=f"{field.var} is one of {', '.join(field.options)}")
    if field.name == "anonymous":
        return WHOIS[text]
    return Whispering(text) if field.name == "whispering" else text


def _people(room: Room, fields: dict[str, list[str]]) -> tuple[Affiliated, ...]:
    """Those who become or are no more admins and owners (§10.2)."""
    wanted: dict[Address, Affiliation] = {}
    for var, affiliation in PEOPLE.items():
        if var not in fields:
            continue
        for each in room.with_affiliation(affiliation):
            wanted.setdefault(each.address, Affiliation.MEMBER)
        for text in filter(None, fields[var]):
            try:
                wanted[parse_jid(text).bare] = affiliation
            except InvalidAddress:
                raise StanzaError("jid-malformed", text=text[:80]) from None
    changed = []
    for address, affiliation in wanted.items():
        before = room.affiliated.get(address, Affiliated(address))
        if before.affiliation is not affiliation:
            changed.append(replace(before, affiliation=affiliation))
    owners = {each.address for each in room.with_affiliation(Affiliation.OWNER)}
    owners -= {each.address for each in changed if each.affiliation is not Affiliation.OWNER}
    owners |= {each.address for each in changed if each.affiliation is Affiliation.OWNER}
    if not owners:
        raise StanzaError("conflict", text="a room needs an owner")
    return tuple(changed)
