"""The archive as values and rules: its order, and what an owner keeps (XEP-0313, XEP-0441, free of XMPP).

Every message the bus accepts for the archive has a *position*: the milliseconds at which it was accepted, and
a count within them. Positions only grow, so they are the order of every archive, and a span of time is a
span of positions. A message is kept once, for its sender and its recipient.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from presence.address import Address
from presence.messages import InstantMessage

COUNTS = 1 << 20
"Positions within a millisecond."
LAST = (1 << 63) - 1
"Beyond every position; as large as SQL's BIGINT."
MAX_LISTED = 500
"Correspondents in an owner's preferences."


def position(milliseconds: int, count: int = 0) -> int:
    return milliseconds * COUNTS + count


def position_at(at: float) -> int:
    """The first position of a moment in Unix seconds, to the millisecond; what is out of range is clipped."""
    return min(max(0, int(at * 1000 + 0.0005)) * COUNTS, LAST)


class Archived(msgspec.Struct, frozen=True):
    """A message in somebody's archive."""

    position: int
    message: InstantMessage

    @property
    def at(self) -> float:
        """When it was accepted, Unix seconds."""
        return (self.position // COUNTS) / 1000


class Page(msgspec.Struct, frozen=True):
    """Part of an archive, in order."""

    items: tuple[Archived, ...]
    complete: bool
    "Nothing else is in the span."


class Filed(msgspec.Struct, frozen=True, kw_only=True):
    """A message as the archive is given it."""

    position: int
    id: str
    sender: Address
    recipient: Address
    sender_tuple: str = ""
    recipient_tuple: str = ""
    for_sender: bool
    for_recipient: bool
    message: bytes
    "The `InstantMessage` as it is encoded on the bus."


class Parties(msgspec.Struct, frozen=True):
    """As much of an `InstantMessage` as tells whose it is."""

    id: str
    sender: Address
    recipient: Address
    sender_tuple: str = ""
    recipient_endpoint: str = ""


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of an archive is asked for."""

    peer: Address | None = None
    "Only messages to or from them. The owner itself: only what the owner sent to itself."
    peer_tuple: str = ""
    "Only messages to or from this endpoint of theirs."
    after: int = -1
    "Position; exclusive, as `before`."
    before: int = LAST

    def has(self, owner: Address, position: int, message: InstantMessage) -> bool:
        """Whether a message of the owner's archive is in it."""
        if not self.after < position < self.before:
            return False
        if self.peer is None:
            return True
        return any(
            correspondent.address == self.peer and self.peer_tuple in ("", correspondent.tuple)
            for correspondent in correspondents(message, owner)
        )


class Correspondent(msgspec.Struct, frozen=True, order=True):
    """The other end of a conversation: a person, or one endpoint of theirs."""

    address: Address
    tuple: str = ""


def correspondents(message: Parties | InstantMessage, owner: Address) -> list[Correspondent]:
    """Whom the owner exchanged it with; two endpoints of the same person for a message to oneself."""
    found = []
    if message.sender == owner:
        found.append(Correspondent(message.recipient, addressed_tuple(message.recipient_endpoint)))
    if message.recipient == owner:
        found.append(Correspondent(message.sender, message.sender_tuple))
    return found


def addressed_tuple(endpoint: str) -> str:
    """The resource or device a message names as its recipient."""
    return endpoint.partition(":")[2]


class Keep(StrEnum):
    """What happens to messages of those an owner has not listed."""

    ALWAYS = "always"
    NEVER = "never"
    ROSTER = "roster"
    "Only those of people in the owner's roster."


class Preferences(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one owner wants kept. Never outranks always."""

    default: Keep = Keep.ALWAYS
    always: tuple[Correspondent, ...] = ()
    never: tuple[Correspondent, ...] = ()

    def verdict(self, who: Correspondent) -> Keep:
        """ROSTER: it depends on the owner's roster."""
        names = (who, Correspondent(who.address))
        if any(name in self.never for name in names):
            return Keep.NEVER
        if any(name in self.always for name in names):
            return Keep.ALWAYS
        return self.default
