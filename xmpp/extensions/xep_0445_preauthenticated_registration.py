"""XEP-0445 Pre-Authenticated In-Band Registration: who has the token of an invitation may make an account.

It has to be shown on the stream that makes the account; when it expires is looked at once, here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xmpp.element import E, Element
from xmpp.entrance import Entrance
from xmpp.errors import StanzaError
from xmpp.extensions import Extension, Status

if TYPE_CHECKING:
    from xmpp.negotiation import Negotiation
    from xmpp.router import XmppRouter

NS = "urn:xmpp:ibr-token:0"
PARS_NS = "urn:xmpp:pars:0"
HOUR = 3600


async def _features(router: XmppRouter, negotiation: Negotiation) -> list[Element]:
    """§3."""
    possible = router.settings.registration != "closed" and negotiation.trusted
    return [E("register", NS)] if possible else []


async def _preauth(router: XmppRouter, negotiation: Negotiation, asked: Element) -> Element | None:
    """§4."""
    if router.settings.registration == "closed":
        raise StanzaError("service-unavailable")
    most = 4 * router.settings.registrations_per_hour
    if await negotiation.realm.guard.admits("preauth", negotiation.login.peer, most, HOUR):
        raise StanzaError("resource-constraint", "wait", "too many tokens from your network; try again later")
    token = asked.get("token")
    invitation = await router.service.invitations.find(token)
    if invitation is None or not invitation.registers or invitation.domain != negotiation.domain:
        raise StanzaError("item-not-found", text="the token is unknown or has expired")
    negotiation.extra[PARS_NS] = token
    return None


EXTENSION = Extension(
    spec="XEP-0445",
    name="Pre-Authenticated In-Band Registration",
    version="0.2.0",
    status=Status.COMPLETE,
    notes="Where `xmpp.registration` allows it.",
    entrance=Entrance(features=_features, iq={("set", PARS_NS, "preauth"): _preauth}),
)
