"""Who may see whom: RFC 6121 §3 and the states of its appendix A, as pure functions over one roster item.

The user's item for a contact carries both directions; the contact's item for the user mirrors it. A SIP watcher's
SUBSCRIBE (RFC 3856) and an XMPP client's `<presence type='subscribe'/>` are the same act.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from presence.address import Address
from presence.model import Text


class Subscription(StrEnum):
    """From the user's side: TO = the user sees the contact, FROM = the contact sees the user."""

    NONE = "none"
    TO = "to"
    FROM = "from"
    BOTH = "both"


class Act(StrEnum):
    SUBSCRIBE = "subscribe"
    SUBSCRIBED = "subscribed"
    UNSUBSCRIBE = "unsubscribe"
    UNSUBSCRIBED = "unsubscribed"


class RosterItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    contact: Address
    subscription: Subscription = Subscription.NONE
    ask: bool = False
    "Pending out: the user asked and has no answer yet."
    pending_in: bool = False
    "The contact asked and has no answer yet; re-sent at every login (RFC 6121 §3.1.3)."
    approved: bool = False
    "Pre-approved (RFC 6121 §3.4)."
    listed: bool = False
    "In the roster clients see. An item that is only pending-in is not (appendix A.1)."
    name: str = ""
    groups: tuple[str, ...] = ()
    request: tuple[Text, ...] = ()
    "What the contact said when asking."
    opaque: bytes = b""
    "XMPP payload of the pending request."

    @property
    def sees(self) -> bool:
        """The user may see the contact."""
        return self.subscription in (Subscription.TO, Subscription.BOTH)

    @property
    def seen(self) -> bool:
        """The contact may see the user."""
        return self.subscription in (Subscription.FROM, Subscription.BOTH)
