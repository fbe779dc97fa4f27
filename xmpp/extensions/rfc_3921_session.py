"""RFC 3921 §3, the session of old: clients still ask for it when it is offered; it does nothing."""

from __future__ import annotations

from xmpp.element import E, Element
from xmpp.extensions import Extension, Iq, Request, Status, Target

NS = "urn:ietf:params:xml:ns:xmpp-session"


def _feature() -> Element:
    return E("session", NS, {}, E("optional", NS))


async def _establish(request: Request) -> Element | None:
    return None


EXTENSION = Extension(
    spec="RFC 3921",
    name="Session establishment",
    version="2004",
    status=Status.COMPLETE,
    notes="Optional, as RFC 6120 has no such step.",
    stream_features=(_feature,),
    iq=(
        Iq(
            type="set",
            ns=NS,
            name="session",
            targets=frozenset({Target.ACCOUNT, Target.SERVER}),
            handle=_establish,
        ),
    ),
)
