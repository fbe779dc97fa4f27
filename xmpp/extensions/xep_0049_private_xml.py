"""XEP-0049 Private XML Storage, each element by its namespace and name; bookmarks (XEP-0048) among them."""

from __future__ import annotations

from xmpp import belongings
from xmpp.element import E, Element
from xmpp.errors import StanzaError
from xmpp.extensions import Extension, Iq, Request, Status, Target
from xmpp.reader import parse_fragment
from xmpp.serialiser import serialise_children

NS = "jabber:iq:private"
COLLECTION = "private"
MAX_ELEMENTS = 200
"Kinds of elements one person may store."
RESERVED = ("jabber:", "http://jabber.org/", "vcard-temp")
"Beginnings of namespaces in which nothing is stored (§4), but for what clients always have stored."
ALLOWED = frozenset({"http://jabber.org/protocol/muc#bookmarks"})


async def _get(request: Request) -> Element:
    belongings.only_own(request)
    (wanted,) = _elements(request, most=1)
    found = await request.router.service.belongings.kept(request.session.address, COLLECTION, _key(wanted))
    stored = parse_fragment(found[0].data) if found else [Element(wanted.name, wanted.ns)]
    return E("query", NS, {}, *stored)


async def _set(request: Request) -> Element | None:
    belongings.only_own(request)
    elements = _elements(request, most=MAX_ELEMENTS)
    kept, owner = request.router.service.belongings, request.session.address
    data = {_key(element): serialise_children([element]) for element in elements}
    await belongings.weigh(request, sum(map(len, data.values())))
    known = {each.name for each in await kept.kept(owner, COLLECTION)}
    if len(known | data.keys()) > MAX_ELEMENTS:
        raise StanzaError("resource-constraint", "wait", "too many kinds of elements")
    for key, value in data.items():
        await kept.keep(owner, COLLECTION, key, value, MAX_ELEMENTS)
    for hook in request.router.registry.kept:
        await hook(request, COLLECTION, elements)
    return None


def _elements(request: Request, most: int) -> list[Element]:
    elements = request.payload.elements
    if not 0 < len(elements) <= most:
        raise StanzaError("bad-request", text="one element is wanted")
    for element in elements:
        if not element.ns or (element.ns.startswith(RESERVED) and element.ns not in ALLOWED):
            raise StanzaError("not-acceptable", text="nothing is stored in this namespace")
    return elements


def _key(element: Element) -> str:
    return f"{{{element.ns}}}{element.name}"


TARGETS = frozenset({Target.ACCOUNT, Target.USER})

EXTENSION = Extension(
    spec="XEP-0049",
    name="Private XML Storage",
    version="1.2",
    status=Status.COMPLETE,
    features=(NS,),
    account_features=(NS,),
    iq=(
        Iq(type="get", ns=NS, name="query", targets=TARGETS, handle=_get),
        Iq(type="set", ns=NS, name="query", targets=TARGETS, handle=_set),
    ),
)
