"""What clients keep with the server: how much, and who may ask for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from presence.address import Address
from presence.policy import BLOCKED
from presence.service import Standing
from xmpp.element import Element
from xmpp.errors import StanzaError
from xmpp.extensions import Request, Target

if TYPE_CHECKING:
    from xmpp.router import XmppRouter

MAX_BYTES = 8_388_608
"All that one person keeps."


async def weigh(request: Request, more: int) -> None:
    """Raises `StanzaError` when there is no room for so many bytes more."""
    if await request.router.service.belongings.weight(request.session.address) + more > MAX_BYTES:
        raise StanzaError("resource-constraint", "wait", "too much is kept for this account")


def only_own(request: Request) -> None:
    """Raises `StanzaError` for what is another user's."""
    if request.target is not Target.ACCOUNT:
        raise StanzaError("forbidden")


def shown(router: XmppRouter, owner: Address, collection: str, elements: list[Element]) -> list[Element]:
    """What is given out of what is kept for somebody."""
    show = router.registry.shows.get(collection)
    return [show(router, owner, each) for each in elements] if show is not None else elements


def taken(router: XmppRouter, owner: Address, collection: str, elements: list[Element]) -> list[Element]:
    """What is kept of what a client puts there."""
    take = router.registry.takes.get(collection)
    return [take(router, owner, each) for each in elements] if take is not None else elements


async def standing(request: Request, otherwise: str = "service-unavailable") -> Standing:
    """Where the sender stands with the addressee. Raises `StanzaError` of the same condition for somebody who
    does not exist and somebody who blocks the sender (RFC 6121 §8.5.1)."""
    decision = await request.router.service.decide(request.session.address, request.to.bare)
    if decision.standing is Standing.NO_SUCH_PRESENTITY or decision.reason == BLOCKED:
        raise StanzaError(otherwise)
    return decision.standing
