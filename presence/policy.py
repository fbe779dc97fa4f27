"""Where a watcher stands with a presentity, and who answers for somebody who has only a phone.

Pure. The roster decides (RFC 6121 §3, RFC 8048 §5); the policy is asked only where no XMPP client has ever
logged in, so that nobody could be asked (RFC 6121 §3.1.3 rule 1c).
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from presence.address import Address
from presence.ports import Account
from presence.subscriptions import Act, RosterItem


class Standing(StrEnum):
    """Where a watcher stands with a presentity (RFC 6665 §4.1.3 states; RFC 6121 subscription)."""

    ACTIVE = "active"
    PENDING = "pending"
    REJECTED = "rejected"
    VEILED = "veiled"
    """Rejected without being told: the watcher sees somebody who is never there (polite-block, RFC 5025
    §3.2.1)."""
    NO_SUCH_PRESENTITY = "no-such-presentity"


class Decision(msgspec.Struct, frozen=True):
    standing: Standing
    reason: str
    "For humans and the trace: `own presence`, `roster: both`, `policy: allow`, `pending: a@b has not ...`."
    asked: bool = False
    "The presentity has the watcher's request before them."


class PhonePolicy(StrEnum):
    """What becomes of a request to see somebody with only a phone."""

    ALLOW = "allow"
    "Granted to people of the own domains; others wait."
    ASK = "ask"
    "It waits until an XMPP client of theirs logs in."
    DENY = "deny"


def answer(account: Account | None, policy: PhonePolicy, *, own_people: bool) -> Act | None:
    """What the server answers in the owner's place; None: the owner is asked. `own_people`: we serve the
    watcher.
    """
    if account is None or not account.phone_only:
        return None
    if policy is PhonePolicy.DENY:
        return Act.UNSUBSCRIBED
    return Act.SUBSCRIBED if policy is PhonePolicy.ALLOW and own_people else None


BLOCKED = "blocked"
"Reason of a decision the watcher must not be able to tell from an absent presentity (XEP-0191 §3.2)."


def weigh(presentity: Address, item: RosterItem, in_place: Act | None, *, blocked: bool = False) -> Decision:
    """From the presentity's roster item for the watcher, and the `answer` given in the presentity's place.
    `blocked`: by the presentity, which outweighs both."""
    if blocked:
        return Decision(Standing.REJECTED, BLOCKED)
    if item.seen:
        return Decision(Standing.ACTIVE, f"roster: {item.subscription.value}")
    if in_place is Act.SUBSCRIBED:
        return Decision(Standing.ACTIVE, "policy: allow")
    if in_place is Act.UNSUBSCRIBED:
        return Decision(Standing.REJECTED, "policy: deny")
    if item.pending_in:
        return Decision(Standing.PENDING, f"pending: {presentity} has not answered", asked=True)
    return Decision(Standing.PENDING, f"pending: {presentity} has not been asked")
