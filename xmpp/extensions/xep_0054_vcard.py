"""XEP-0054 vcard-temp: whoever is not blocked may read it."""

from __future__ import annotations

from presence.service import Standing
from xmpp import belongings
from xmpp.element import E, Element
from xmpp.errors import StanzaError
from xmpp.extensions import Extension, Iq, Request, Status, Target
from xmpp.reader import parse_fragment
from xmpp.serialiser import serialise_children

NS = "vcard-temp"
COLLECTION = "vcard"


async def _get(request: Request) -> Element:
    """Who has no card has one for those who see them, if there is something to say of everybody."""
    standing = await belongings.standing(request, "item-not-found")
    owner = request.to.bare
    found = await request.router.service.belongings.kept(owner, COLLECTION, "")
    kept = parse_fragment(found[0].data) if found else [E("vCard", NS)]
    if not found and standing is not Standing.ACTIVE:
        raise StanzaError("item-not-found")
    (card,) = belongings.shown(request.router, owner, COLLECTION, kept)
    if not found and not card.elements and request.target is Target.USER:
        raise StanzaError("item-not-found")
    return card


async def _set(request: Request) -> Element | None:
    belongings.only_own(request)
    owner = request.session.address
    cards = belongings.taken(request.router, owner, COLLECTION, [request.payload])
    data = serialise_children(cards)
    await belongings.weigh(request, len(data))
    await request.router.service.belongings.keep(owner, COLLECTION, "", data, 1)
    for hook in request.router.registry.kept:
        await hook(request, COLLECTION, cards)
    return None


TARGETS = frozenset({Target.ACCOUNT, Target.USER})

EXTENSION = Extension(
    spec="XEP-0054",
    name="vcard-temp",
    version="1.3.0",
    status=Status.COMPLETE,
    features=(NS,),
    account_features=(NS,),
    iq=(
        Iq(type="get", ns=NS, name="vCard", targets=TARGETS, handle=_get, strangers=True),
        Iq(type="set", ns=NS, name="vCard", targets=TARGETS, handle=_set),
    ),
)
