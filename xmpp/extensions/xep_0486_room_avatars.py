"""XEP-0486 MUC Avatars: a room has a card with a picture, set by its owners, seen by all."""

from __future__ import annotations

import base64
import binascii
import hashlib

from presence.rooms.decisions import Step, decorate
from presence.rooms.model import Room
from presence.rooms.privileges import check_owner
from xmpp.element import Element
from xmpp.errors import StanzaError
from xmpp.extensions import Extension, Status
from xmpp.extensions.xep_0054_vcard import COLLECTION
from xmpp.reader import parse_fragment
from xmpp.rooms.names import VCARD_NS
from xmpp.rooms.requests import RoomRequest
from xmpp.serialiser import serialise_children


async def _get(request: RoomRequest) -> Element:
    room = await request.find()
    found = await request.router.service.belongings.kept(request.room, COLLECTION, "")
    if not room.head.card or not found:
        raise StanzaError("item-not-found")
    (card,) = parse_fragment(found[0].data)
    return card


async def _set(request: RoomRequest) -> None:
    check_owner((await request.find()).affiliation(request.asker))
    picture = hash_of(request.payload)
    data = serialise_children([request.payload])
    await request.router.service.belongings.keep(request.room, COLLECTION, "", data, 1)

    def decide(room: Room) -> Step:
        return decorate(room, request.asker, picture)

    await request.change(decide)


def hash_of(card: Element) -> str:
    """Of the picture on a card (XEP-0153 §3); empty when there is none. Raises `StanzaError`."""
    photo = card.find("PHOTO")
    binary = photo.find("BINVAL") if photo is not None else None
    if binary is None:
        return ""
    try:
        image = base64.b64decode("".join(binary.text.split()), validate=True)
    except binascii.Error:
        raise StanzaError("bad-request", text="a picture is in Base64") from None
    return hashlib.sha1(image).hexdigest() if image else ""


EXTENSION = Extension(
    spec="XEP-0486",
    name="MUC Avatars",
    version="0.1.0",
    status=Status.COMPLETE,
    room_features=(VCARD_NS,),
    room_iq={("get", VCARD_NS, "vCard"): _get, ("set", VCARD_NS, "vCard"): _set},
)
