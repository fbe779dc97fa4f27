"""Who may see whom: RFC 6121 §3 and the states of its appendix A, as pure functions over one roster item.

The user's item for a contact carries both directions; the contact's item for the user mirrors it. A SIP
watcher's SUBSCRIBE (RFC 3856) and an XMPP client's `<presence type='subscribe'/>` are the same act.

`outbound` is what the user's server does with the user's act (A.2), `inbound` what it does with the
contact's (A.3), `removal` what it does when the user takes the contact out of the roster (§2.5.2). An act
that is carried from one person's `outbound` goes through the other's `inbound`; whatever that replies goes
back through the first one's.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec
from msgspec.structs import replace

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

    @property
    def standing(self) -> str:
        """The state in RFC 6121 A.1's words, e.g. `None + Pending Out+In`."""
        pending = "+".join(w for w, flag in (("Out", self.ask), ("In", self.pending_in)) if flag)
        name = self.subscription.value.title()
        return f"{name} + Pending {pending}" if pending else name

    def shows(self) -> tuple[object, ...]:
        """What clients see of it: they are pushed the item when this changes (RFC 6121 §2.1.2)."""
        if not self.listed:
            return ()
        return (self.subscription, self.ask, self.approved, self.name, self.groups)


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What one act makes of one side's item."""

    before: RosterItem
    item: RosterItem
    carry: bool
    "Outbound: route it to the contact. Inbound: show it to the user."
    reply: Act | None = None
    "Inbound: what the user's server answers on the user's behalf."

    @property
    def changed(self) -> bool:
        return self.item != self.before

    @property
    def push(self) -> bool:
        """The user's clients see the item changed."""
        return self.item.shows() != self.before.shows()


class Removal(msgspec.Struct, frozen=True, kw_only=True):
    item: RosterItem
    "What is left: nothing."
    acts: tuple[Act, ...]
    "What the contact is sent."


def subscription(*, sees: bool, seen: bool) -> Subscription:
    if sees:
        return Subscription.BOTH if seen else Subscription.TO
    return Subscription.FROM if seen else Subscription.NONE


def outbound(item: RosterItem, act: Act) -> Step:
    """The user acts towards the contact (RFC 6121 A.2, §3.4.2)."""
    after, carry = item, True
    match act:
        case Act.SUBSCRIBE:
            if not item.sees:
                after = replace(item, ask=True, listed=True)
        case Act.UNSUBSCRIBE:
            after = replace(item, ask=False, subscription=subscription(sees=False, seen=item.seen))
        case Act.SUBSCRIBED if item.pending_in:
            after = _unasked(item, seen=True)
        case Act.SUBSCRIBED:
            carry = False
            if not item.seen:
                after = replace(item, approved=True, listed=True)
        case Act.UNSUBSCRIBED:
            carry = item.seen or item.pending_in
            after = replace(_unasked(item, seen=False), approved=False)
    return Step(before=item, item=after, carry=carry)


def inbound(item: RosterItem, act: Act, notes: tuple[Text, ...] = (), opaque: bytes = b"") -> Step:
    """The contact acts towards the user (RFC 6121 A.3). `notes` and `opaque` are kept with a request."""
    after, reply = item, None
    match act:
        case Act.SUBSCRIBE if item.seen:
            reply = Act.SUBSCRIBED
        case Act.SUBSCRIBE if item.approved:
            # approved beforehand (§3.4): the user is not asked
            return Step(before=item, item=_unasked(item, seen=True), carry=False, reply=Act.SUBSCRIBED)
        case Act.SUBSCRIBE:
            if not item.pending_in:
                after = replace(item, pending_in=True, request=notes, opaque=opaque)
        case Act.UNSUBSCRIBE:
            if item.seen or item.pending_in:
                reply = Act.UNSUBSCRIBED
                after = _unasked(item, seen=False)
        case Act.SUBSCRIBED:
            if item.ask:
                after = replace(item, ask=False, subscription=subscription(sees=True, seen=item.seen))
        case Act.UNSUBSCRIBED:
            if item.ask or item.sees:
                after = replace(item, ask=False, subscription=subscription(sees=False, seen=item.seen))
    return Step(before=item, item=after, carry=after != item, reply=reply)


def removal(item: RosterItem) -> Removal:
    """The user removes the contact from the roster: both directions end (RFC 6121 §2.5.2)."""
    acts: list[Act] = []
    if item.sees or item.ask:
        acts.append(Act.UNSUBSCRIBE)
    if item.seen or item.pending_in:
        acts.append(Act.UNSUBSCRIBED)
    return Removal(item=RosterItem(contact=item.contact), acts=tuple(acts))


def _unasked(item: RosterItem, *, seen: bool) -> RosterItem:
    """The contact's request is answered, or withdrawn; an approved contact is in the roster (§3.1.5)."""
    return replace(
        item,
        subscription=subscription(sees=item.sees, seen=seen),
        pending_in=False,
        request=(),
        opaque=b"",
        listed=item.listed or seen,
    )
