"""XEP-0398: an avatar published by personal eventing (XEP-0084) is in the vCard, and the other way round; its
hash goes into every available presence (XEP-0153)."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING

from presence.address import Address
from presence.errors import PresenceError
from presence.ports import KeptStore
from xmpp.element import E, Element
from xmpp.extensions import Extension, Request, Status
from xmpp.extensions.xep_0054_vcard import COLLECTION as CARD
from xmpp.extensions.xep_0054_vcard import NS as CARD_NS
from xmpp.extensions.xep_0163_pep import put
from xmpp.nodes import CONFIGS, ITEMS
from xmpp.reader import parse_fragment
from xmpp.serialiser import serialise_children

if TYPE_CHECKING:
    from xmpp.jid import JID
    from xmpp.relay import Carried
    from xmpp.router import XmppRouter
    from xmpp.session import Session

NS = "urn:xmpp:pep-vcard-conversion:0"
UPDATE_NS = "vcard-temp:x:update"
DATA = "urn:xmpp:avatar:data"
METADATA = "urn:xmpp:avatar:metadata"


async def _kept(request: Request, collection: str, elements: list[Element]) -> None:
    """A client published an avatar one way: do it the other way, too."""
    if collection == ITEMS + METADATA:
        hash = await _into_card(request, elements[0] if elements else E("metadata", METADATA))
    elif collection == CARD:
        hash = await _into_nodes(request, elements[0])
    else:
        return
    if hash is not None:
        await request.router.say_everywhere(NS, request.session.jid, hash.encode())


async def _into_card(request: Request, metadata: Element) -> str | None:
    """The new hash, empty for no avatar; None when the image is not here."""
    owner, kept = request.session.address, request.router.service.belongings
    hash, kind = _described(metadata)
    photo: list[Element] = []
    if hash:
        found = await kept.kept(owner, ITEMS + DATA, hash)
        image = _decoded(parse_fragment(found[0].data)[0].text) if found else b""
        if _hash(image) != hash:
            return None
        encoded = base64.b64encode(image).decode()
        photo = [E("PHOTO", CARD_NS, {}, E("TYPE", CARD_NS, {}, kind), E("BINVAL", CARD_NS, {}, encoded))]
    before = await kept.kept(owner, CARD, "")
    card = parse_fragment(before[0].data)[0] if before else E("vCard", CARD_NS)
    rest = [child for child in card.elements if child.name != "PHOTO"]
    data = serialise_children([E("vCard", CARD_NS, {}, *rest, *photo)])
    await kept.keep(owner, CARD, "", data, 1)
    return hash


async def _into_nodes(request: Request, card: Element) -> str | None:
    router, owner = request.router, request.session.address
    photo = card.find("PHOTO")
    binval = photo.find("BINVAL") if photo is not None else None
    image = _decoded(binval.text) if binval is not None else b""
    if not image:
        if not await router.service.belongings.kept(owner, CONFIGS, METADATA):
            return None
        await put(router, owner, METADATA, "current", [E("metadata", METADATA)])
        return ""
    hash = _hash(image)
    if hash != await _current(router.service.belongings, owner):
        kind = photo.find("TYPE") if photo is not None else None
        info = {"id": hash, "bytes": str(len(image)), "type": (kind.text if kind else "") or "image/png"}
        data = E("data", DATA, {}, base64.b64encode(image).decode())
        await put(router, owner, DATA, hash, [data])
        await put(router, owner, METADATA, hash, [E("metadata", METADATA, {}, E("info", METADATA, info))])
    return hash


def _described(metadata: Element) -> tuple[str, str]:
    """Hash and type of the image that is not elsewhere; empty for none."""
    for info in metadata.findall("info"):
        if not info.get("url"):
            return info.get("id").lower(), info.get("type") or "image/png"
    return "", ""


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _hash(image: bytes) -> str:
    return hashlib.sha1(image, usedforsecurity=False).hexdigest()


async def _current(kept: KeptStore, owner: Address) -> str:
    found = await kept.kept(owner, ITEMS + METADATA)
    return _described(parse_fragment(found[-1].data)[0])[0] if found else ""


# --- the hash in presence -------------------------------------------------------------------------------


def _opened(session: Session) -> None:
    session.runtime.spawn(_learn(session))


async def _learn(session: Session) -> None:
    try:
        hash = await _current(session.router.service.belongings, session.address)
    except PresenceError:
        return
    session.extra.setdefault(NS, hash)


def _heard(router: XmppRouter, carried: Carried, to: JID) -> None:
    for session in router.sessions_of(to.bare):
        session.extra[NS] = carried.stanza.decode()


def _incoming(session: Session, stanza: Element) -> Element:
    """Also in directed presence; but who says to have none yet is left alone (§3)."""
    hash = session.extra.get(NS)
    if not hash or stanza.name != "presence" or stanza.get("type"):
        return stanza
    said = stanza.find("x", UPDATE_NS)
    photo = said.find("photo") if said is not None else None
    if photo is not None and not photo.text:
        return stanza
    rest = [child for child in stanza.children if child is not said]
    update = E("x", UPDATE_NS, {}, E("photo", UPDATE_NS, {}, hash))
    return Element(stanza.name, stanza.ns, stanza.attrs, [*rest, update])


EXTENSION = Extension(
    spec="XEP-0398",
    name="User Avatar to vCard-Based Avatars Conversion",
    version="1.0.0",
    status=Status.COMPLETE,
    notes="Presence is not sent again when the avatar changes; the next one has the new hash.",
    account_features=(NS,),
    opened=_opened,
    incoming=_incoming,
    hears=frozenset({"presence"}),
    kept=_kept,
    words={NS: _heard},
)
