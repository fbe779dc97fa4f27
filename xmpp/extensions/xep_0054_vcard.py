"""XEP-0054 vcard-temp: whoever is not blocked may read it."""

from __future__ import annotations

from xmpp import belongings
from xmpp.element import E, Element
from xmpp.errors import StanzaError
from xmpp.extensions import Extension, Iq, Request, Status, Target
from xmpp.reader import parse_fragment
from xmpp.serialiser import serialise_children

NS = "vcard-temp"
COLLECTION = "vcard"


async def _get(request: Request) -> Element:
    await belongings.standing(request, "item-not-found")
    found = await request.router.service.belongings.kept(request.to.bare, COLLECTION, "")
    if found:
        (card,) = parse_fragment(found[0].data)
        return card
    if request.target is Target.USER:
        raise StanzaError("item-not-found")
    return E("vCard", NS)


async def _set(request: Request) -> Element | None:
    belongings.only_own(request)
    data = serialise_children([request.payload])
    await belongings.weigh(request, len(data))
    await request.router.service.belongings.keep(request.session.address, COLLECTION, "", data, 1)
    for hook in request.router.registry.kept:
        await hook(request, COLLECTION, [request.payload])
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
