"""XEP-0386 Bind 2: a resource is bound in the step that ends authentication, and what a client wants is
enabled.

GAP XEP-0386 §3.2: messages that wait are delivered, not dropped: there is one queue for clients and phones.
They carry their archive ids, so that a client knows those it has from the archive.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from typing import TYPE_CHECKING

from presence.address import Address
from presence.errors import InvalidAddress, Unavailable
from xmpp.element import STANZAS_NS, E, Element
from xmpp.entrance import Entrance
from xmpp.errors import StanzaError
from xmpp.extensions import Extension, Status
from xmpp.jid import parse_resource
from xmpp.welcome import Welcome

if TYPE_CHECKING:
    from xmpp.negotiation import Negotiation
    from xmpp.router import XmppRouter

NS = "urn:xmpp:bind:0"
MAX_TAG = 128
"Characters of a tag that become part of the resource."


async def _features(router: XmppRouter, negotiation: Negotiation) -> list[Element]:
    inline = E("inline", NS, {}, *(E("feature", NS, {"var": ns}) for ns in router.registry.at_binding))
    return [E("bind", NS, {}, inline)]


def resource(address: Address, client: str, tag: str) -> str | None:
    """§3.2.1: the same for the same client each time, so that it replaces its own earlier session. None: any
    will do."""
    made = ""
    if client:  # it cannot be found out from this
        digest = hmac.digest(client.encode(), str(address).encode(), "sha256")
        made = base64.urlsafe_b64encode(digest[:9]).decode()
    if not tag:
        return made or None
    try:
        return parse_resource(f"{tag[:MAX_TAG]}/{made or secrets.token_urlsafe(9)}")
    except InvalidAddress:
        return made or None


async def _bind(router: XmppRouter, welcome: Welcome) -> None:
    wish = welcome.request.find("bind", NS)
    if wish is None or welcome.session is not None:  # §3.2: a session that goes on has its resource
        return
    tag = wish.find("tag")
    wanted = resource(welcome.address, welcome.client, tag.text.strip() if tag is not None else "")
    negotiation = welcome.negotiation
    try:
        session = await router.bind(
            welcome.address, wanted, negotiation.outbound, negotiation.lang, replace=bool(welcome.client)
        )
    except StanzaError as refused:  # logged in all the same: it can bind in the old way
        welcome.success.append(E("failed", NS, {}, E(refused.condition, STANZAS_NS)))
        return
    welcome.session = session
    bound = E("bound", NS)
    for asked in wish.elements:  # before anything can be sent to it
        enable = router.registry.at_binding.get(asked.ns)
        answer = enable(session, asked) if enable is not None else None
        if answer is not None:
            bound.append(answer)
    for tells in router.registry.bound:
        try:
            told = await tells(session)
        except Unavailable:
            continue
        if told is not None:
            bound.append(told)
    welcome.success.append(bound)


EXTENSION = Extension(
    spec="XEP-0386",
    name="Bind 2",
    version="1.1.0",
    status=Status.PARTIAL,
    notes="A client with an identifier always gets the same resource. Messages that wait are delivered.",
    entrance=Entrance(inline_features=_features, inline=_bind, order=20),
)
