"""XEP-0379 Pre-Authenticated Roster Subscription: a request that carries the token of an invitation of the
one who is asked makes both buddies at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xmpp.element import Element
from xmpp.extensions import Extension, Status
from xmpp.jid import JID

if TYPE_CHECKING:
    from xmpp.session import Session

NS = "urn:xmpp:pars:0"


async def _asks(session: Session, stanza: Element, to: JID) -> bool:
    """§3.5. An unknown token is ignored (§4.1)."""
    preauth = stanza.find("preauth", NS)
    if preauth is None:
        return False
    service = session.router.service
    token = preauth.get("token")
    invitation = await service.invitations.find(token)
    if invitation is None or not invitation.befriends or invitation.inviter != to.bare or invitation.local:
        return False
    if to.bare == session.address or not await service.invitations.take(token):
        return False
    await service.befriend(session.address, to.bare)
    return True


EXTENSION = Extension(
    spec="XEP-0379",
    name="Pre-Authenticated Roster Subscription",
    version="0.3.3",
    status=Status.COMPLETE,
    notes="For invitations the server made (XEP-0401); those of clients are carried.",
    asks=_asks,
)
