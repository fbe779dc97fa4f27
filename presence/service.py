"""The only door into the domain: what `sip/` and `xmpp/` may ask for.

It decides with pure functions and performs with the ports; it holds no state of its own but caches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum

import msgspec

from presence.address import Address
from presence.messages import Delivery, InstantMessage
from presence.model import Snapshot, Text
from presence.ports import Accounts, Bus, Committed, Metrics, Relay, Store, Submission, Update
from presence.subscriptions import Act, RosterItem


class Standing(StrEnum):
    """Where a watcher stands with a presentity (RFC 6665 §4.1.3 states; RFC 6121 subscription)."""

    ACTIVE = "active"
    PENDING = "pending"
    REJECTED = "rejected"
    NO_SUCH_PRESENTITY = "no-such-presentity"


class Decision(msgspec.Struct, frozen=True):
    standing: Standing
    reason: str
    "For humans and the trace: `own presence`, `roster: both`, `policy: allow`, `pending: alice has not answered`..."


class PresenceService:
    def __init__(
        self,
        *,
        node: str,
        incarnation: str,
        domains: frozenset[str],
        bus: Bus,
        store: Store,
        accounts: Accounts,
        metrics: Metrics,
        clock: Callable[[], float],
        phone_policy: str = "allow",
    ) -> None:
        """`phone_policy` answers for owners with only a phone: `allow`, `ask` or `deny`. `clock`: Unix seconds."""

    @property
    def owner(self) -> str:
        """Lease owner of what lives in this process: `NODE/INCARNATION`."""

    def serves(self, domain: str) -> bool: ...

    def new_trace(self) -> str:
        """A short sortable trace id, given at the door."""

    def note(self, trace: str, hop: str, address: Address | str = "", peer: Address | str = "", detail: str = "") -> None:
        """One hop for `tandem trace`."""

    # presence
    async def publish(self, address: Address, update: Update, trace: str = "") -> Committed:
        """Change sources, endpoints and cells of one person in one step (see `Update`)."""

    async def watch(self, addresses: Sequence[Address]) -> list[Snapshot]:
        """This node wants to hear of these presentities; their state now. The caller answers for authorisation."""

    async def unwatch(self, addresses: Sequence[Address]) -> None: ...

    async def snapshots(self, addresses: Sequence[Address]) -> list[Snapshot]: ...

    # authorisation
    async def decide(self, watcher: Address, presentity: Address) -> Decision:
        """May watcher see presentity? Changes nothing."""

    async def request(self, watcher: Address, presentity: Address, *, notes: tuple[Text, ...] = (), trace: str = "") -> Decision:
        """A watcher's wish to see (SIP SUBSCRIBE): as `decide`, but asks when it is not decided yet."""

    async def act(
        self, user: Address, contact: Address, act: Act, *, notes: tuple[Text, ...] = (), opaque: bytes = b"", trace: str = ""
    ) -> RosterItem:
        """User does one of RFC 6121 §3's four acts towards contact. Both rosters change in one transaction; the
        nodes of both hear `AuthorisationChanged`. Returns the user's item after it. Raises `Refused`."""

    async def roster(self, owner: Address) -> tuple[str, list[RosterItem]]: ...

    async def set_item(self, owner: Address, contact: Address, name: str, groups: tuple[str, ...], trace: str = "") -> RosterItem:
        """Roster set (RFC 6121 §2.3)."""

    async def remove_item(self, owner: Address, contact: Address, trace: str = "") -> None:
        """Roster remove: cancels both directions (RFC 6121 §2.5). Raises `Refused` ITEM_NOT_FOUND."""

    # messages
    async def submit(self, message: InstantMessage, dedup: str = "") -> Submission:
        """Accept a message; when this returns the bus has it. `id`, `trace` and `created` are set by `new_message`'s
        caller or left empty to be given here. Raises `Refused`: ITEM_NOT_FOUND (no such local user),
        REMOTE_NOT_FOUND (not our domain), RESOURCE_CONSTRAINT (queue full)."""

    async def settle(self, message: InstantMessage, endpoint: str, delivery: Delivery, *, condition: str = "", text: str = "") -> None:
        """What became of it at one endpoint. When all refused, the sender is told (`Failed`) with the last `condition`."""

    async def relay(self, envelope: Relay) -> int: ...
