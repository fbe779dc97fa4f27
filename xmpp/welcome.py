"""What a client asked for together with its authentication, and what it is told (XEP-0388 §2.6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from presence.address import Address
from xmpp.element import Element

if TYPE_CHECKING:
    from xmpp.negotiation import Negotiation
    from xmpp.session import Session


@dataclass(slots=True)
class Welcome:
    """Of one client that has proven who it is. Whoever serves a wish of it adds the answer to `success`."""

    negotiation: Negotiation
    address: Address
    request: Element
    "`<authenticate/>`, with what is asked for."
    client: str
    """Identifier of the client's installation (`<user-agent id=…/>`); empty where it has none. For nobody
    else's eyes."""
    success: Element
    session: Session | None = None
    "The session that was bound, or goes on."


class Task(Protocol):
    """Something to be done between the proof and the success (XEP-0388 §2.6.3)."""

    name: str

    async def receive(self, data: Element) -> list[Element] | None:
        """`<next/>` or `<task-data/>` → what the client is sent; None when the task is done. Raises
        `SaslFailure`."""
