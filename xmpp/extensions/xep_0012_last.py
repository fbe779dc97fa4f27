"""XEP-0012 Last Activity: of contacts who are gone, and of the server."""

from __future__ import annotations

from presence.service import Standing
from xmpp.element import E, Element
from xmpp.errors import StanzaError
from xmpp.extensions import EVERYWHERE, Extension, Iq, Request, Status, Target

NS = "jabber:iq:last"


async def _last(request: Request) -> Element:
    router = request.router
    now = router.clock()
    if request.target is Target.SERVER:  # §5: since when it runs
        return E("query", NS, {"seconds": str(int(now - router.started))})
    address = request.to.bare
    if request.target is Target.USER:
        decision = await router.service.decide(request.session.address, address)
        if decision.standing is not Standing.ACTIVE:
            raise StanzaError("forbidden")
    (snapshot,) = await router.service.snapshots([address])
    document = await router.service.show(snapshot, request.session.address)
    if document.online:
        return E("query", NS, {"seconds": "0"})
    if document.last_seen is None:  # nobody knows
        raise StanzaError("item-not-found")
    query = E("query", NS, {"seconds": str(max(0, int(now - document.last_seen.at)))})
    if document.last_seen.notes:
        query.append(document.last_seen.notes[0].text)
    return query


EXTENSION = Extension(
    spec="XEP-0012",
    name="Last Activity",
    version="2.0",
    status=Status.COMPLETE,
    features=(NS,),
    account_features=(NS,),
    iq=(Iq(type="get", ns=NS, name="query", targets=EVERYWHERE, handle=_last, strangers=True),),
)
