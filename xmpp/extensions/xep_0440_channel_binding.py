"""XEP-0440 SASL Channel-Binding Type Capability: which bindings a client may choose from.

GAP XEP-0440 §3: no `tls-exporter`, which the standard library has no way to get.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xmpp.element import E, Element
from xmpp.entrance import Entrance
from xmpp.extensions import Extension, Status

if TYPE_CHECKING:
    from xmpp.negotiation import Negotiation
    from xmpp.router import XmppRouter

NS = "urn:xmpp:sasl-cb:0"


async def _features(router: XmppRouter, negotiation: Negotiation) -> list[Element]:
    """§2."""
    kinds = [E("channel-binding", NS, {"type": kind}) for kind in negotiation.bindings]
    return [E("sasl-channel-binding", NS, {}, *kinds)] if kinds else []


EXTENSION = Extension(
    spec="XEP-0440",
    name="SASL Channel-Binding Type Capability",
    version="1.0.0",
    status=Status.COMPLETE,
    notes="`tls-server-end-point` only.",
    entrance=Entrance(features=_features),
)
