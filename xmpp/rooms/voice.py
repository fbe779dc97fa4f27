"""Asking for a voice, and giving it (XEP-0045 §7.13, §8.6)."""

from __future__ import annotations

from presence.rooms.model import Occupant, Role, Room
from xmpp.element import CLIENT_NS, E, Element
from xmpp.errors import StanzaError
from xmpp.forms import NS as FORM_NS
from xmpp.forms import offer_field, offer_form, read_form
from xmpp.presence import Addressable
from xmpp.rooms.names import REQUEST_NS
from xmpp.rooms.stanzas import real_jid
from xmpp.serialiser import escape_attribute, serialise


def write_voice_request(room: Room, occupant: Occupant) -> Addressable:
    """For moderators."""

    def value(text: str) -> Element:
        return E("value", FORM_NS, {}, text)

    form = offer_form(
        REQUEST_NS,
        [
            offer_field("list-single", "muc#role", value(Role.PARTICIPANT.value)),
            offer_field("jid-single", "muc#jid", value(real_jid(occupant))),
            offer_field("text-single", "muc#roomnick", value(occupant.nick)),
            offer_field("boolean", "muc#request_allow", value("false")),
        ],
    )
    form.children.insert(0, E("title", FORM_NS, {}, "Voice request"))
    head = f"<message from='{escape_attribute(str(room.address))}' to='".encode()
    return Addressable(head, f"'>{serialise(form, CLIENT_NS)}</message>".encode())


def read_voice_form(message: Element) -> tuple[str, bool] | None:
    """Of a message with such a form: whom a moderator lets speak, and whether; an empty nickname when it is
    somebody who asks. None: there is no such form. Raises `StanzaError`."""
    form = message.find("x", FORM_NS)
    if form is None or form.get("type") != "submit":
        return None
    fields = read_form(form)
    if fields.get("FORM_TYPE") != (REQUEST_NS,):
        return None
    if fields.get("muc#role", (Role.PARTICIPANT.value,)) != (Role.PARTICIPANT.value,):
        raise StanzaError("bad-request", text="only a voice can be asked for")
    nick = "".join(fields.get("muc#roomnick", ()))
    return nick, fields.get("muc#request_allow", ("",))[:1] in (("1",), ("true",))
