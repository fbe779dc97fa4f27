"""What the domain needs from the world: the bus, the store, the accounts, the doors.

Each is a Protocol. `presence/edge/` implements them; `presence/memory.py` implements the bus for unit tests.
Times are Unix seconds and come from the caller, so that both bus implementations obey one contract.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

import msgspec

from presence.address import Address
from presence.archive import Archived, Filed, Page, Preferences, Span
from presence.errors import Refused, Unavailable
from presence.messages import Accepted, Delivery, Failure, InstantMessage
from presence.model import LastSeen, Snapshot, Source
from presence.rooms.ports import RoomChanged
from presence.subscriptions import RosterItem

# --- what hangs on one address -----------------------------------------------------------------


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """Why a source or endpoint is believed to be alive."""

    expires: float | None = None
    "Unix seconds; None while only the owner keeps it alive."
    owner: str = ""
    "`NODE/INCARNATION` of the process that dies with it (a stream, a session); empty for UDP registrations."


class SourceWrite(msgspec.Struct, frozen=True, kw_only=True):
    """Put one source; with `expect`, only if its current tag is that (RFC 3903 entity-tag)."""

    source: Source
    lease: Lease
    tag: str = ""
    expect: str | None = None
    "None: unconditional. Else the tag it must have now, or `StaleTag` and nothing changes."


class EndpointKind(StrEnum):
    XMPP = "xmpp"
    SIP = "sip"


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A live place to deliver to: an XMPP session or a SIP contact binding."""

    id: str
    "`xmpp:RESOURCE` or `sip:BINDING`."
    kind: EndpointKind
    node: str
    lease: Lease
    eligible: bool = True
    "Takes messages to the bare address: available with non-negative priority (RFC 6121 §8.5.2.1)."


class Cell(msgspec.Struct, frozen=True):
    """A small record under one address with compare-and-set, e.g. the registrar's bindings."""

    version: int
    "0 when it does not exist yet."
    data: bytes


class CellWrite(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    expect: int
    "Version read before; `Conflict` if another write came between."
    data: bytes
    "Empty deletes it."


class Update(msgspec.Struct, frozen=True, kw_only=True):
    """Everything one atomic step changes about one address. All of it happens, or nothing.

    An endpoint that is put and eligible receives, through its node's inbox and in order of acceptance, every
    message that waits for the address. Putting an endpoint with the id of another owner replaces it.
    Dropping a source drops the sources tied to it. Dropping an endpoint makes what was owed to it
    `UNREACHABLE`.
    """

    put_sources: tuple[SourceWrite, ...] = ()
    drop_sources: tuple[str, ...] = ()
    expect_tags: tuple[tuple[str, str], ...] = ()
    "Further (source id, tag) conditions, e.g. for dropping a publication."
    put_endpoints: tuple[Endpoint, ...] = ()
    drop_endpoints: tuple[str, ...] = ()
    only_owner: str | None = None
    "Drop sources and endpoints only if this owns their lease: an old session must not end its successor."
    cells: tuple[CellWrite, ...] = ()
    farewell: LastSeen | None = None
    "Kept as last-seen if this leaves the presentity without sources."


class Committed(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    changed: bool
    "The set of sources changed; interested nodes have the new snapshot in their inbox."
    snapshot: Snapshot


# --- messages -----------------------------------------------------------------------------------


class Submission(msgspec.Struct, frozen=True):
    accepted: Accepted
    endpoints: tuple[str, ...] = ()
    "Endpoint ids it is now owed to."


class Unarchived(msgspec.Struct, frozen=True):
    """A message on its way into the archive."""

    position: int
    "In the order of all accepted messages; see `presence.archive`."
    message: bytes
    "The `InstantMessage` as it is encoded on the bus."


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """Sent back by `settle` when it decided a message's fate."""

    done: bool
    failed: InstantMessage | None = None
    "The message, when every endpoint refused it and none took it."


# --- envelopes: what a node finds in its inbox --------------------------------------------------


class PresenceChanged(msgspec.Struct, frozen=True, kw_only=True, tag="presence"):
    """For every node interested in the presentity."""

    snapshot: Snapshot
    trace: str = ""


class Deliver(msgspec.Struct, frozen=True, kw_only=True, tag="deliver"):
    """For a node that holds endpoints the message is owed to. May come again: deduplicate by message and
    endpoint.
    """

    message: InstantMessage
    endpoints: tuple[str, ...]
    delayed: bool = False
    "It waited for the recipient: show its original time."
    sole: bool = False
    "It is owed to nobody but the one endpoint."


class Copy(msgspec.Struct, frozen=True, kw_only=True, tag="copy"):
    """A message, for XMPP endpoints it was not addressed to (XEP-0280). Best effort: never owed, never
    re-driven; the archive has it."""

    message: InstantMessage
    endpoints: tuple[str, ...]
    sent: bool
    "They are the sender's own; else the recipient's."


class Relay(msgspec.Struct, frozen=True, kw_only=True, tag="relay"):
    """Protocol-private payload for endpoints of one kind: an IQ, directed presence. Never stored."""

    address: Address
    endpoint: str
    "Endpoint id; empty for all endpoints of that kind at this node."
    kind: EndpointKind
    payload: bytes
    trace: str = ""


class Word(msgspec.Struct, frozen=True, kw_only=True, tag="word"):
    """What a process says to all that have the same door, itself included. Never stored."""

    kind: EndpointKind
    node: str
    "Who says it."
    payload: bytes


class AuthorisationChanged(msgspec.Struct, frozen=True, kw_only=True, tag="authorisation"):
    """The subscription between two people changed, or one was asked for. See `presence.subscriptions`.

    Sent to every node that holds an endpoint of `owner` or is interested in `owner`'s presence.
    """

    owner: Address
    "Whose roster this is about."
    contact: Address
    item: RosterItem
    "Owner's item after the change."
    previous: RosterItem
    stanza: str = ""
    """What owner's clients are shown, if anything: `subscribe`, `subscribed`, `unsubscribe`, `unsubscribed`
    from contact (RFC 6121 §3)."""
    push: bool = False
    "Owner's item as clients see it changed: roster push (RFC 6121 §2.1.6)."
    version: str = ""
    "Roster version after the change."
    resource: str = ""
    "It is about this one of owner's XMPP clients alone, if it is named (XEP-0191)."
    notes: tuple[Any, ...] = ()
    trace: str = ""

    @property
    def taken_back(self) -> bool:
        """The contact did it: a request is withdrawn, or they do not want to see owner any more."""
        return self.stanza == "unsubscribe"


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """For the nodes of the sender of a message nobody took."""

    failure: Failure


class Waiting(msgspec.Struct, frozen=True, kw_only=True, tag="waiting"):
    """To every node: a message waits, or goes only where no XMPP client is, and the recipient has asked to be
    woken. One node does it (`Bus.lease`)."""

    message: InstantMessage


class KeptChanged(msgspec.Struct, frozen=True, kw_only=True, tag="kept"):
    """What a person's phones keep with the server changed: their buddy lists and rules, and registrations
    where their presence does not show it. Sent to every node that holds an endpoint of theirs or is
    interested in their presence."""

    owner: Address


class RecordTaken(msgspec.Struct, frozen=True, kw_only=True, tag="taken"):
    """For the node that kept a record: another one has taken it over (`Bus.take_record`). It may have come
    back meanwhile; `Bus.has_record` tells."""

    key: str


class AccountChanged(msgspec.Struct, frozen=True, kw_only=True, tag="account"):
    """To every node: forget what was cached."""

    address: Address
    gone: bool = False
    "It is deleted or disabled: sessions, bindings and dialogs end."
    renewed: bool = False
    "It has another password: the same end, until their clients show that they know it."
    spare: str = ""
    "The full JID of the session that changed it; this one goes on."


Envelope = (
    PresenceChanged
    | Deliver
    | Copy
    | Relay
    | Word
    | AuthorisationChanged
    | Failed
    | KeptChanged
    | Waiting
    | RecordTaken
    | AccountChanged
    | RoomChanged
)
"What a door receives."


class Inquiry(msgspec.Struct, frozen=True, kw_only=True, tag="inquiry"):
    """The admin asks every node for its `Door.sessions()`. The node itself answers, into the asker's records
    (`Bus.put_records`), under the key `ID/NODE`; doors never see it."""

    id: str
    asker: str
    "Name under which the answers are kept."
    address: str = ""
    "Only what concerns this address; empty for all."


Inbound = Envelope | Inquiry
"What a node finds in its inbox."


class TraceEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One hop of one story."""

    trace: str
    at: float
    node: str
    hop: str
    "Vocabulary in docs/bus.md: `sip.in`, `submitted`, `delivered`, `xmpp.out`, ..."
    address: str = ""
    "Whom it is for, or whose state changed."
    peer: str = ""
    "From whom it comes."
    detail: str = ""
    "Never a body, never a credential."


class NodeInfo(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    "Stable over restarts: `xmpp-1`."
    role: str
    incarnation: str
    "New at every start."
    started: float
    beat: float
    "Unix seconds of the last heartbeat."
    metrics: dict[str, float] = {}
    "Prometheus sample name with labels → value."


class Bus(Protocol):
    """DESIGN: per-address state, node inboxes, trace. Every method may raise `Unavailable`."""

    @property
    def breaks(self) -> int:
        """How often the connection to it broke. A server that took over may lack what was written last."""

    async def commit(self, address: Address, update: Update, now: float, trace: str = "") -> Committed:
        """Apply one update atomically. Raises `StaleTag`, `Conflict`."""

    async def snapshots(self, addresses: Sequence[Address], now: float) -> list[Snapshot]:
        """Current snapshots, in the order asked for, expired sources left out; one round trip."""

    async def watch(self, node: str, addresses: Sequence[Address], now: float) -> list[Snapshot]:
        """Register the node's interest, then read, in one round trip: no change can fall between."""

    async def unwatch(self, node: str, addresses: Sequence[Address]) -> None: ...

    async def endpoints(self, address: Address, now: float) -> list[Endpoint]: ...

    async def tag(self, address: Address, source_id: str) -> str | None:
        """Entity-tag of a live source, None when there is none."""

    async def cell(self, address: Address, name: str) -> Cell: ...

    async def submit(
        self, message: InstantMessage, now: float, dedup: str = "", through: Address | None = None
    ) -> Submission:
        """Accept a message: store it with its obligations and put it in the nodes' inboxes.

        `dedup` names it for 64 s against retransmission (RFC 3261 timer F/J doubled). `through`: whose
        endpoints take it in the recipient's place; where none does, nobody hears of it. Raises `Refused`
        (RESOURCE_CONSTRAINT) when the recipient's queue is full, or has too many of the sender's.
        """

    def accept(
        self, message: InstantMessage, now: float, then: Callable[[Submission | Refused | Unavailable], None]
    ) -> None:
        """`submit` where nobody waits: `then` hears what came of it."""

    async def settle(
        self, recipient: Address, message_id: str, endpoint: str, delivery: Delivery, now: float
    ) -> Settled:
        """Strike one obligation off. Settling what is not owed changes nothing."""

    def delivered(
        self,
        recipient: Address,
        message_id: str,
        endpoint: str,
        now: float,
        then: Callable[[Unavailable | None], None],
    ) -> None:
        """`settle` as DELIVERED where nobody waits: `then` hears None once it is done, or why it was not."""

    # what the archive is still to be given: durable with the message's acceptance, in order
    async def unarchived(self, limit: int, timeout: float) -> list[Unarchived]:  # noqa: ASYNC109
        """The oldest messages accepted for the archive and not yet `forget_unarchived`; waits up to `timeout`
        seconds for one. A message that nobody can get any more (`DROPPED`) is not among them."""

    async def forget_unarchived(self, position: int) -> None:
        """Everything up to there is in the archive."""

    async def lease(self, name: str, holder: str, seconds: float) -> bool:
        """Take, or keep, what one process at a time may do. False: another holds it."""

    async def relay(self, envelope: Relay) -> int:
        """Send to live endpoints; returns how many nodes got it (0: nobody there)."""

    async def tell(self, address: Address, envelope: AuthorisationChanged | Failed | KeptChanged) -> None:
        """To every node with an endpoint of `address` or interested in its presence."""

    async def broadcast(self, envelope: Inbound, node: str = "") -> None:
        """To every live node, or to that one if it is."""

    async def receive(self, node: str, timeout: float) -> list[Inbound]:  # noqa: ASYNC109
        """Next envelopes of the node's inbox, oldest first; [] after `timeout` seconds. One reader per node.

        They are hints: obligations and snapshots are the truth, so what is lost with a process is re-driven.
        """

    # records a node keeps for itself over its restarts (SIP subscription dialogs)
    async def put_records(self, node: str, records: dict[str, bytes]) -> list[str]:
        """Write them. Returns the keys of those that were not, because another node has taken them over."""

    async def drop_records(self, node: str, keys: Iterable[str]) -> None: ...
    async def records(self, node: str) -> dict[str, bytes]: ...
    async def has_record(self, node: str, key: str) -> bool: ...

    async def take_record(self, node: str, key: str) -> bytes | None:
        """From now on it is this node's, whichever node kept it, alive or dead; that one hears `RecordTaken`.
        None where nobody has such a record."""

    # nodes
    async def join(self, info: NodeInfo) -> None:
        """Heartbeat; call at start and every few seconds. Beyond 10 s without one, a node counts as dead.

        Raises `Conflict` when it was swept meanwhile, or another incarnation took its name: start anew.
        """

    async def leave(self, name: str) -> None: ...
    async def nodes(self) -> list[NodeInfo]: ...

    async def sweep(self, node: str, incarnation: str | None, now: float) -> int:
        """End every source and endpoint owned by `node` under any incarnation but this one (None: all), tell
        who watches, re-drive what was owed. Returns how many addresses changed.

        The node's interest ends too: a starting node sweeps itself before it watches anyone, and receives
        after.
        """

    async def maintain(self, now: float, limit: int = 100) -> int:
        """Take addresses that are due: expire sources and endpoints, re-drive overdue obligations. Each
        address is taken by one caller. Returns how many were handled; call again at once when it equals
        `limit`."""

    # inspection
    def trace(self, entry: TraceEntry) -> None:
        """Buffered, sent with the next batch."""

    async def traces(
        self,
        *,
        trace: str = "",
        address: str = "",
        after: str = "",
        limit: int = 500,
        timeout: float = 0.0,  # noqa: ASYNC109
    ) -> tuple[str, list[TraceEntry]]:
        """Entries after a cursor ("" = from the oldest kept, "$" = only new), waiting up to `timeout` for
        one. Returns the new cursor."""

    async def inspect(self, address: Address, now: float) -> dict[str, Any]:
        """Everything kept under one address, for humans: sources with leases, endpoints, pending, interest,
        cells.
        """

    async def ping(self) -> float:
        """Round trip in seconds."""

    async def close(self) -> None: ...


# --- durable data --------------------------------------------------------------------------------


class RosterChange(msgspec.Struct, frozen=True, kw_only=True):
    owner: Address
    previous: RosterItem
    item: RosterItem


class BlockStore(Protocol):
    """Blocklists (`presence.blocking`). Every method may raise `Unavailable`."""

    async def blocklist(self, owner: Address) -> list[str]:
        """In the order they were blocked."""

    async def blockers(self, names: Sequence[str]) -> list[Address]:
        """Whose list has one of these names."""

    async def block(self, owner: Address, names: Sequence[str]) -> None: ...
    async def unblock(self, owner: Address, names: Sequence[str] | None) -> None:
        """None: all."""


class Kept(msgspec.Struct, frozen=True):
    """Something a person's clients keep with the server."""

    name: str
    data: bytes
    changed: float
    "Unix seconds."


class KeptStore(Protocol):
    """Named things in collections, each under one person. Every method may raise `Unavailable`."""

    async def kept(self, owner: Address, collection: str, name: str | None = None) -> list[Kept]:
        """All of the collection, least lately changed first; only that one, if a name is given."""

    async def keep(self, owner: Address, collection: str, name: str, data: bytes, most: int) -> list[str]:
        """Put one; beyond `most`, those changed longest ago are dropped. Returns their names."""

    async def swap(
        self, owner: Address, collection: str, name: str, old: bytes | None, new: bytes | None
    ) -> bool:
        """Put, replace or drop one if it is still what it was; None: not there. False: it is not."""

    async def discard(self, owner: Address, collection: str, name: str | None = None) -> int:
        """Drop one, or all of the collection. Returns how many were there."""

    async def collections(self, owner: Address) -> list[str]:
        """Names of those that are not empty."""

    async def weight(self, owner: Address) -> int:
        """Bytes of all that the person keeps."""

    async def latest(
        self, owners: Sequence[Address], collections: Sequence[str]
    ) -> dict[tuple[Address, str], Kept]:
        """What changed last in each collection that is not empty."""

    async def kept_by(
        self, owners: Sequence[Address], collection: str, names: Sequence[str]
    ) -> dict[tuple[Address, str], Kept]:
        """Those names, of many people at once."""


class Token(msgspec.Struct, frozen=True, array_like=True):
    """What is kept of a token (`presence.tokens`)."""

    mechanism: str
    verifier: bytes
    answer: bytes
    issued: float
    expires: float
    "Unix seconds."

    def __repr__(self) -> str:
        return f"Token({self.mechanism})"


class ClientTokens(msgspec.Struct, frozen=True, array_like=True):
    """Of one client."""

    current: Token | None = None
    fresh: Token | None = None
    "Given out, and not seen again yet."

    @property
    def expires(self) -> float:
        """When the last of them does."""
        return max((token.expires for token in (self.current, self.fresh) if token is not None), default=0.0)


class TokenStore(Protocol):
    """Tokens by account and client. Every method may raise `Unavailable`."""

    async def tokens(self, owner: Address, client: str) -> ClientTokens: ...

    async def put_tokens(
        self, owner: Address, client: str, tokens: ClientTokens, most: int, now: float
    ) -> None:
        """Those of the account's other clients go that have expired, and those that expire first where there
        are more than `most` clients."""

    async def drop_tokens(self, owner: Address, client: str | None = None) -> None:
        """None: of all clients."""


class Invitation(msgspec.Struct, frozen=True, array_like=True):
    """What somebody may do who knows its token (`presence.invitations`)."""

    domain: str
    "Where an account may be made."
    inviter: Address | None = None
    registers: bool = True
    "An account may be made with it."
    befriends: bool = False
    "Whoever uses it and the inviter become each other's buddies."
    local: str = ""
    "The account to be made; empty: the invited person chooses."
    expires: float = 0.0
    "Unix seconds."

    @property
    def reserved(self) -> str:
        """The address nobody else may make an account of."""
        return f"{self.local}@{self.domain}" if self.local else ""


class InvitationStore(Protocol):
    """Invitations by a digest of their tokens. Every method may raise `Unavailable`."""

    async def invitation(self, name: str) -> Invitation | None: ...

    async def put_invitation(self, name: str, invitation: Invitation, most: int, now: float) -> bool:
        """False: the inviter has `most` open ones already, or the address is reserved. Expired ones go."""

    async def take_invitation(self, name: str) -> bool:
        """It is used up. False: it was already."""

    async def reserved(self, address: Address, now: float) -> bool:
        """An open invitation is for exactly this account."""


class Store(BlockStore, KeptStore, TokenStore, InvitationStore, Protocol):
    """Subscriptions, rosters, and what else must outlive the bus. Every method may raise `Unavailable`."""

    async def roster(self, owner: Address) -> tuple[str, list[RosterItem]]:
        """Version and all items, including those only pending-in (which clients are not shown)."""

    async def item(self, owner: Address, contact: Address) -> RosterItem:
        """The stored item, or an empty one (`RosterItem.none(contact)`)."""

    async def pair(self, one: Address, other: Address) -> tuple[RosterItem, RosterItem]:
        """one's item for other, other's item for one; in one read."""

    async def save(self, changes: Sequence[RosterChange]) -> dict[Address, str]:
        """Write all changes in one transaction, if `previous` still holds for each, else `Conflict`. Items
        that became empty are deleted. Returns the new roster version per owner."""

    async def watchers(self, presentity: Address) -> list[RosterItem]:
        """Items of `presentity`'s roster with subscription from or both."""

    async def migrate(self) -> None: ...
    async def ping(self) -> float: ...
    async def close(self) -> None: ...


class Archive(Protocol):
    """Where messages are kept for good. `presence.history` reads it together with what the bus still has.

    Every method may raise `Unavailable`.
    """

    async def write(self, rows: Sequence[Filed]) -> None:
        """Keep all of them, in one transaction. What is kept already stays as it is."""

    async def page(self, owner: Address, span: Span, limit: int, *, backwards: bool = False) -> Page:
        """The first `limit` within the span, or the last ones; fewer where they are large."""

    async def count(self, owner: Address, span: Span) -> int: ...

    async def find(self, owner: Address, ids: Sequence[str]) -> list[Archived]:
        """Those of them that are in the owner's archive, in order."""

    async def preferences(self, owners: Sequence[Address]) -> dict[Address, Preferences]:
        """Of those who ever chose any."""

    async def set_preferences(self, owner: Address, preferences: Preferences) -> None: ...

    async def expire(self, before: int, limit: int) -> int:
        """Delete up to `limit` of the oldest messages before a position. Returns how many."""


class DigestAlgorithm(StrEnum):
    MD5 = "MD5"
    SHA256 = "SHA-256"


class ScramKeys(msgspec.Struct, frozen=True):
    """RFC 5802 §3: what a server keeps."""

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes

    def __repr__(self) -> str:
        return "ScramKeys(...)"


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One person's account with the proofs its backend can give."""

    address: Address
    enabled: bool = True
    ha1: dict[str, str] = {}
    "DigestAlgorithm → hex HA1 for realm = domain."
    scram: dict[str, ScramKeys] = {}
    "`SHA-1`, `SHA-256`, `SHA-512` → keys."
    phone_only: bool = True
    "No XMPP client has ever logged in: a policy answers watchers on its behalf."
    own_ha1: str = ""
    "HA1 (MD5) of `spelling`, where that is all a password can be compared with."
    spelling: str = ""
    "`login:realm` as the operator wrote it, which `own_ha1` was made with."
    password: str = ""
    "Where the backend keeps it in the clear."

    def __repr__(self) -> str:
        return f"Account({self.address})"  # no traceback shows what proves it


class Accounts(Protocol):
    """An account backend (one file in `presence/edge/accounts/`, one registration)."""

    mechanisms: frozenset[str]
    "SASL mechanisms some account can prove, without -PLUS: PLAIN, DIGEST-MD5, SCRAM-SHA-1 and its like."

    reserved: frozenset[str]
    "Local parts of addresses that are the server's own: there is no such account, and none is made."

    async def digests(self) -> tuple[DigestAlgorithm, ...]:
        """SIP digest algorithms that all accounts can prove, best first; none when no phone can prove
        anything. Everybody is asked by the same: a challenge must not tell who exists."""

    async def offers(self, address: Address | None) -> frozenset[str]:
        """SASL mechanisms to offer: to this person, if the stream said who it is, else what all can prove.

        The same for somebody unknown as for somebody who never logged in.
        """

    async def find(self, address: Address) -> Account | None:
        """None when unknown. Cached for seconds; `forget` empties the cache for one address."""

    async def check_password(self, address: Address, password: str) -> bool:
        """For SASL PLAIN. Constant time in the password; takes as long for unknown users. Never blocks the
        loop.
        """

    async def set_password(self, address: Address, password: str) -> None: ...
    async def keep_scram(self, address: Address, name: str, keys: ScramKeys) -> None:
        """Keys for a hash the account has none of yet, made of its password by its own client. Does nothing
        where none can be kept."""

    async def add(self, address: Address, password: str, *, invitation: str = "") -> None:
        """Raises `Refused` CONFLICT when it exists. `invitation`: name of the one (`InvitationStore`) that is
        used up in the same step; NOT_ACCEPTABLE when it already was."""

    async def delete(self, address: Address) -> None: ...
    async def list(self) -> list[Account]: ...
    async def seen_on_xmpp(self, address: Address) -> None:
        """Clears `phone_only`."""

    async def set_enabled(self, address: Address, enabled: bool) -> None:
        """A disabled account cannot log in; tell with `AccountChanged`. Raises `Refused` ITEM_NOT_FOUND."""

    async def refresh(self, *, force: bool = False) -> Sequence[AccountChanged]:
        """Take notice of what changed where accounts are kept; `force`: look even if nothing seems to have.
        Returns who may no longer log in, or not with what they did. Called every second or so, and on
        SIGHUP."""

    def forget(self, address: Address) -> None: ...
    async def close(self) -> None: ...


class DigestQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """A digest response as a client gave it (RFC 7616 §3.4)."""

    username: str
    realm: str
    nonce: str
    uri: str
    response: str
    method: str
    algorithm: str = "MD5"
    qop: str = ""
    nc: str = ""
    cnonce: str = ""
    opaque: str = ""
    body_digest: str = ""
    "Hex H(body), for `auth-int`."


@runtime_checkable
class DigestJudge(Protocol):
    """What an account backend has beside `Accounts` that shows nobody an HA1 but can say whether a response
    is right. Nonces are the asker's to issue and to check."""

    async def check_digest(self, address: Address, question: DigestQuestion) -> bool:
        """Raises `Unavailable`: then nothing is known about the password."""


class Ban(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody must wait before the next try to log in."""

    kind: str
    "`network`, `account`, or `login`: one account from one network."
    name: str
    "The network, the address, or both with a space between."
    until: float
    "Unix seconds."


class Guard(Protocol):
    """Counts failed logins over all processes. At the doors it never raises: without a bus each process
    counts for itself. `peer` is an IP address, `account` an address or whatever name was given."""

    async def wait(self, peer: str, account: str) -> float:
        """Seconds until this network may try this account again; 0: now."""

    async def failed(self, peer: str, account: str) -> None:
        """Count a failure. Returns after a delay that grows with their number."""

    async def succeeded(self, peer: str, account: str) -> None:
        """The network knows the account's password: others' failures must not keep it out."""

    async def admits(self, what: str, peer: str, most: int, seconds: int) -> float:
        """Count something a network may do `most` times in so many seconds; returns the seconds until it may
        again, 0: it may now."""

    async def bans(self) -> list[Ban]: ...
    async def lift(self, name: str) -> int:
        """End the bans of a network or an account, and forget its failures. Returns how many bans."""


# --- the doors -----------------------------------------------------------------------------------


class Metrics(Protocol):
    """Counters and gauges, by Prometheus conventions, without the `tandem_` prefix. What is counted with each
    message has its labels in its name, as Prometheus writes them."""

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None: ...
    def gauge(self, name: str, value: float, /, **labels: str) -> None: ...


class Outlet(Protocol):
    """A door's receiving side: called for each envelope of its node's inbox, in order. Must not block or
    raise.
    """

    def receive(self, envelope: Envelope) -> None: ...


@runtime_checkable
class Restating(Protocol):
    """A door whose peers are connected to it: it can say again what the bus may have lost."""

    async def restate(self) -> None:
        """Put sources, endpoints and interest once more. Returns when it is on its way."""


@runtime_checkable
class Web(Protocol):
    """A door that serves HTTP, too. The node opens the addresses when the door has started; when it stops,
    nobody new comes in, and what is connected is closed after the door has said goodbye."""

    @property
    def max_message(self) -> int:
        """Bytes of one message on a WebSocket."""

    def routes(self) -> Sequence[Any]:
        """Starlette's routes; asked for once, before `start`."""


class Door(Outlet, Protocol):
    """One protocol's server in this process."""

    async def start(self) -> None:
        """Open listeners; raises OSError with the address when a port is taken."""

    async def stop(self) -> None:
        """Drain: stop accepting, tell peers, settle what is in flight, close. Bounded by settings."""

    async def reload(self) -> None:
        """Certificates and reloadable settings (SIGHUP)."""

    def sessions(self) -> list[dict[str, Any]]:
        """For `tandem sessions`: one dict per connection, binding or dialog."""
