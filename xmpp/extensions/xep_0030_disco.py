"""XEP-0030 Service Discovery: of the server and of accounts. Clients answer for themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from presence.service import Standing
from xmpp.element import LANG, E, Element
from xmpp.errors import StanzaError
from xmpp.extensions import EVERYWHERE, Extension, Iq, Request, Status, Target

if TYPE_CHECKING:
    from xmpp.router import XmppRouter

INFO_NS = "http://jabber.org/protocol/disco#info"
ITEMS_NS = "http://jabber.org/protocol/disco#items"


async def _info(request: Request) -> Element:
    found = await _check(request)
    if found is not None:
        return found
    if request.target is Target.SERVER:
        return server_info(request.router)
    known = request.router.registry
    pairs = (("account", "registered"), *known.account_identities)
    return _described(
        [{"category": category, "type": type_} for category, type_ in pairs], known.account_features
    )


def server_info(router: XmppRouter) -> Element:
    """What the server says it is, with its forms (XEP-0128). The language of its name, which is that of our
    streams, counts into hashes (XEP-0390 §4.1)."""
    identity = {"category": "server", "type": "im", LANG: "en", "name": "Tandem"}
    query = _described([identity], router.registry.features)
    forms = (makes(router) for makes in router.registry.server_forms)
    query.children.extend(form for form in forms if form is not None)
    return query


def _described(identities: list[dict[str, str]], features: tuple[str, ...]) -> Element:
    query = E("query", INFO_NS, {}, *(E("identity", INFO_NS, identity) for identity in identities))
    query.children.extend(E("feature", INFO_NS, {"var": var}) for var in features)
    return query


async def _items(request: Request) -> Element:
    found = await _check(request)
    if found is not None:
        return found
    query = E("query", ITEMS_NS)
    if request.target is Target.SERVER:
        for service in request.router.hosted.values():
            if service.beside in ("", request.to.domain):
                query.child("item", attrs={"jid": service.domain, "name": service.name})
    if request.target is not Target.SERVER:
        for listed in request.router.registry.account_items:
            query.children.extend(await listed(request))
    return query


async def _check(request: Request) -> Element | None:
    """The answer of a node of the server, or of an account's. Another account is shown to whom it shows its
    presence (§8)."""
    if request.payload.get("node"):
        if request.target is Target.SERVER:
            for answers in request.router.registry.server_nodes:
                found = await answers(request)
                if found is not None:
                    return found
        elif (answer := request.router.registry.account_nodes) is not None:
            return await answer(request)
        raise StanzaError("item-not-found")
    if request.target is Target.USER:
        service = request.router.service
        decision = await service.decide(request.session.address, request.to.bare)
        if decision.standing is not Standing.ACTIVE:
            raise StanzaError("service-unavailable")
    return None


EXTENSION = Extension(
    spec="XEP-0030",
    name="Service Discovery",
    version="2.5.0",
    status=Status.COMPLETE,
    features=(INFO_NS, ITEMS_NS),
    account_features=(INFO_NS, ITEMS_NS),
    iq=(
        Iq(type="get", ns=INFO_NS, name="query", targets=EVERYWHERE, handle=_info, strangers=True),
        Iq(type="get", ns=ITEMS_NS, name="query", targets=EVERYWHERE, handle=_items, strangers=True),
    ),
)
