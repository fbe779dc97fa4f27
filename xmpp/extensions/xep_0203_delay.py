"""XEP-0203 Delayed Delivery: said of what waited; nobody else may say it in our name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xmpp.element import Element
from xmpp.extensions import Extension, Status
from xmpp.presence import DELAY_NS

if TYPE_CHECKING:
    from xmpp.session import Session


def _incoming(session: Session, stanza: Element) -> Element:
    if stanza.find("delay", DELAY_NS) is None:
        return stanza
    domain = session.address.domain
    kept = [
        child
        for child in stanza.children
        if not (
            isinstance(child, Element)
            and (child.name, child.ns) == ("delay", DELAY_NS)
            and child.get("from") in ("", domain)
        )
    ]
    return Element(stanza.name, stanza.ns, stanza.attrs, kept)


EXTENSION = Extension(
    spec="XEP-0203",
    name="Delayed Delivery",
    version="2.0",
    status=Status.COMPLETE,
    features=(DELAY_NS,),
    incoming=_incoming,
)
