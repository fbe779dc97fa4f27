"""The only door into the domain: what `sip/` and `xmpp/` may ask for.

It decides with pure functions and performs with the ports; it holds no state of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

import structlog
from msgspec.structs import replace

from presence.address import Address
from presence.alarms import Alarms
from presence.blocking import Blocking
from presence.composition import Rule, compose
from presence.errors import Condition, Conflict, Refused, Unavailable
from presence.exchange import Exchange, arrival, exchange, parting
from presence.guarding import Unguarded
from presence.history import History
from presence.identifiers import Identifiers
from presence.invitations import Invitations, name_of
from presence.messages import Accepted, Delivery, Failure, InstantMessage
from presence.model import PresenceDocument, Snapshot, Text
from presence.orders import Handling, StandingOrders, answered, handling
from presence.policy import BLOCKED, Decision, PhonePolicy, Standing, answer, weigh
from presence.ports import (
    Account,
    AccountChanged,
    Accounts,
    AuthorisationChanged,
    Bus,
    Cell,
    Committed,
    EndpointKind,
    Failed,
    Guard,
    KeptChanged,
    KeptStore,
    Metrics,
    Relay,
    RosterChange,
    ScramKeys,
    Store,
    Submission,
    TraceEntry,
    Update,
    Waiting,
    Word,
)
from presence.privacy import Privacy, seen
from presence.rooms.service import Rooms
from presence.subscriptions import Act, RosterItem, removal
from presence.tokens import Tokens

__all__ = ["Decision", "PhonePolicy", "PresenceService", "Standing"]

log = structlog.get_logger()

MAX_ATTEMPTS = 16
"Times an act is tried again because another process changed the same roster item in between."
MAX_ITEMS = 5000
"Items of one roster."
MAX_REQUESTS = 500
"Requests that wait for one person's answer, of whom they do not know (RFC 6121 §3.1.3, security warning)."
MAX_ROSTER = 1_048_576
"Characters of all addresses, names and groups in one roster: it is read, written and shown as a whole."
MAX_REQUEST = 4096
"Bytes of what comes with a request and is kept until it is answered."
MAX_NAME = 1023
"Bytes of an item's name and of a group's (RFC 6121 §2.3.3)."
MAX_GROUPS = 100
SUBMITTED = {each: f'messages_submitted_total{{outcome="{each.value}"}}' for each in Accepted}
SETTLED = {each: f'messages_settled_total{{outcome="{each.value}"}}' for each in Delivery}
_CONDITIONS = frozenset(c.value for c in Condition)


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
        polite: bool = False,
        composition: str = "priority",
        guard: Guard | None = None,
        history: History | None = None,
        rooms: Rooms | None = None,
        neighbours: frozenset[str] = frozenset(),
    ) -> None:
        """`phone_policy` answers for owners with only a phone: `allow`, `ask` or `deny`. `polite`: who is
        blocked is not told so, and sees somebody who is not there. `history`: the
        message archive, where there is one; `rooms` likewise. `neighbours`: domains of others that can be
        reached. `clock`: Unix seconds."""
        self._node = node
        self._owner = f"{node}/{incarnation}"
        self._domains = domains
        self._neighbours = neighbours
        self._bus = bus
        self._store = store
        self._accounts = accounts
        self._metrics = metrics
        self._clock = clock
        self._policy = PhonePolicy(phone_policy)
        self._polite = polite
        self._rule = Rule(composition)
        self.history = history
        "Everybody's archived messages; None when nothing is archived."
        self.rooms = rooms
        "None where there are none."
        self.blocking = Blocking(store, bus, clock)
        "Whom people block."
        self.orders = StandingOrders(store, bus, clock)
        "What people answer to whoever asks to see them."
        self.privacy = Privacy(store, bus, clock)
        "What of their presence people show to whom."
        self.belongings: KeptStore = store
        "What clients keep with the server."
        self.invitations = Invitations(store, clock)
        self.alarms = Alarms(store, clock)
        "Who wants to be woken."
        self.tokens = Tokens(store, clock)
        "What clients log in with instead of a password."
        self._new_id = Identifiers(clock)
        self.guard: Guard = guard or Unguarded()
        "Counts failed logins, for both doors."

    @property
    def node(self) -> str:
        """Name of this process, stable over its restarts."""
        return self._node

    @property
    def owner(self) -> str:
        """Lease owner of what lives in this process: `NODE/INCARNATION`."""
        return self._owner

    @property
    def domains(self) -> frozenset[str]:
        """Ours, in canonical form."""
        return self._domains

    def serves(self, domain: str) -> bool:
        """The domain, in canonical form, is ours."""
        return domain in self._domains

    def reaches(self, domain: str) -> bool:
        """The domain, in canonical form, is ours or a neighbour's."""
        return domain in self._domains or domain in self._neighbours

    def now(self) -> float:
        """Unix seconds."""
        return self._clock()

    def new_trace(self) -> str:
        """A short sortable trace id, given at the door."""
        return self._new_id()

    def note(
        self, trace: str, hop: str, address: Address | str = "", peer: Address | str = "", detail: str = ""
    ) -> None:
        """One hop for `tandem trace`."""
        if trace:
            self._bus.trace(
                TraceEntry(trace, self._clock(), self._node, hop, str(address), str(peer), detail)
            )

    # --- presence -----------------------------------------------------------------------------

    async def publish(self, address: Address, update: Update, trace: str = "") -> Committed:
        """Change sources, endpoints and cells of one person in one step (see `Update`). Raises `StaleTag`,
        `Conflict`."""
        committed = await self._bus.commit(address, update, self._clock(), trace)
        if committed.changed:
            self._metrics.count("presence_changes_total")
            self.note(trace, "published", address, detail=f"version {committed.version}")
        return committed

    def compose(self, snapshot: Snapshot) -> PresenceDocument:
        """What a fully authorised watcher may see, by the rule that is set (`presence.composition`)."""
        return compose(snapshot, self._rule)

    async def show(self, snapshot: Snapshot, watcher: Address) -> PresenceDocument:
        """What somebody may see who is authorised. Raises `Unavailable`."""
        document = compose(snapshot, self._rule)
        if watcher == snapshot.address:
            return document
        rules = (await self.privacy.of([snapshot.address])).get(snapshot.address)
        return seen(document, rules.permissions(watcher) if rules is not None else None)

    async def watch(self, addresses: Sequence[Address]) -> list[Snapshot]:
        """This node wants to hear of these presentities; their state now. The caller answers for
        authorisation, and for what may be seen (`privacy`)."""
        return await self._bus.watch(self._node, addresses, self._clock()) if addresses else []

    async def unwatch(self, addresses: Sequence[Address]) -> None:
        if addresses:
            await self._bus.unwatch(self._node, addresses)

    async def snapshots(self, addresses: Sequence[Address]) -> list[Snapshot]:
        return await self._bus.snapshots(addresses, self._clock()) if addresses else []

    async def cell(self, address: Address, name: str) -> Cell:
        """A small record under one address; written by `publish`."""
        return await self._bus.cell(address, name)

    async def tag(self, address: Address, source_id: str) -> str | None:
        """Entity-tag of a live source, None when there is none."""
        return await self._bus.tag(address, source_id)

    # --- what this node keeps for itself over its restarts ------------------------------------

    async def records(self) -> dict[str, bytes]:
        return await self._bus.records(self._node)

    async def lease(self, name: str, seconds: float) -> bool:
        """Take, or keep, what one process at a time may do. False: another holds it."""
        return await self._bus.lease(name, self._owner, seconds)

    async def first(self, what: str, word: str, seconds: float) -> bool:
        """Whether this word on something is the first in so many seconds, or the same as the first, of all
        processes'. It is the first for as long from now."""
        return await self._bus.lease(what, word, seconds)

    async def put_records(self, records: dict[str, bytes]) -> list[str]:
        """Returns the keys of those that were not written, because another node has taken them over."""
        return await self._bus.put_records(self._node, records) if records else []

    async def has_record(self, key: str) -> bool:
        return await self._bus.has_record(self._node, key)

    async def take_record(self, key: str) -> bytes | None:
        """Make a record this node's, whichever node kept it. None where nobody has one."""
        return await self._bus.take_record(self._node, key)

    async def drop_records(self, keys: Iterable[str]) -> None:
        await self._bus.drop_records(self._node, keys)

    # --- authorisation ------------------------------------------------------------------------

    async def decide(self, watcher: Address, presentity: Address) -> Decision:
        """May watcher see presentity? Changes nothing."""
        account = await self._account(presentity)
        if account is None:
            return Decision(Standing.NO_SUCH_PRESENTITY, f"there is no {presentity} here")
        if watcher == presentity:
            return Decision(Standing.ACTIVE, "own presence")
        blocked = await self.blocking.blocks(presentity, watcher)
        item = await self._store.item(presentity, watcher)
        decision = weigh(presentity, item, await self._answer(account, watcher), blocked=blocked)
        return await self._veil(decision, watcher, presentity)

    async def shows(self, presentity: Address, watcher: Address) -> bool:
        """Whether the watcher may see if the presentity is there; of people of other domains, too."""
        if not self.serves(presentity.domain):
            return False
        return (await self.decide(watcher, presentity)).standing is Standing.ACTIVE

    async def knows(self, address: Address) -> bool:
        """Somebody here has that address."""
        return await self._account(address) is not None

    async def in_place(self, owner: Address) -> Act | None:
        """What the policy answers people of the owner's server in the owner's place; None: they are asked."""
        account = await self._account(owner)
        return answer(account, self._policy, own_people=True)

    async def request(
        self, watcher: Address, presentity: Address, *, notes: tuple[Text, ...] = (), trace: str = ""
    ) -> Decision:
        """A watcher's wish to see (SIP SUBSCRIBE): as `decide`, but asks when it is not decided yet.

        Asking again while the answer is pending, or what is granted already, changes nothing (RFC 8048 §5.3).
        """
        account = await self._account(presentity)
        hidden = account is None or await self.blocking.blocks(presentity, watcher)
        if account is None or hidden or watcher == presentity:
            return await self.decide(watcher, presentity)
        mine, theirs = await self._store.pair(watcher, presentity)
        in_place = await self._answer(account, watcher)
        decision = weigh(presentity, theirs, in_place)
        granted = theirs.seen and mine.sees
        waiting = theirs.pending_in and mine.ask and decision.standing is Standing.PENDING
        if not granted and not waiting and decision.standing is not Standing.REJECTED:
            await self.act(watcher, presentity, Act.SUBSCRIBE, notes=notes, trace=trace)
            decision = weigh(presentity, await self._store.item(presentity, watcher), in_place)
        return await self._veil(decision, watcher, presentity)

    async def act(
        self,
        user: Address,
        contact: Address,
        act: Act,
        *,
        notes: tuple[Text, ...] = (),
        opaque: bytes = b"",
        trace: str = "",
    ) -> RosterItem:
        """User does one of RFC 6121 §3's four acts towards contact. Both rosters change in one transaction;
        the nodes of both hear `AuthorisationChanged`. Returns the user's item after it.

        An unknown contact of ours looks like one who does not answer (§8.5.1), and so does one who blocks the
        user. Raises `Refused`: NOT_ALLOWED
        (towards oneself), REMOTE_NOT_FOUND (not our domain), RESOURCE_CONSTRAINT (roster full),
        POLICY_VIOLATION (too much said).
        """
        if user == contact:
            raise Refused(Condition.NOT_ALLOWED, "one's own presence needs no subscription")
        if act is Act.SUBSCRIBE and not self.reaches(contact.domain):
            raise Refused(Condition.REMOTE_NOT_FOUND, f"{contact.domain} is not served here")
        if len(opaque) + sum(len(n.text) for n in notes) > MAX_REQUEST:
            raise Refused(Condition.POLICY_VIOLATION, "the request says too much")
        account = await self._account(contact)
        in_place = await self._answer(account, user) if account else None

        def between(mine: RosterItem, theirs: RosterItem | None) -> Exchange:
            return exchange(user, mine, theirs, act, in_place=in_place, notes=notes, opaque=opaque)

        blocked = await self.blocking.blocks(contact, user)
        known = account is not None and not (blocked and act is Act.SUBSCRIBE)
        done = await self._exchange(user, contact, known, between, notes, trace, silent=blocked)
        self._metrics.count("subscription_acts_total", act=act.value)
        self.note(trace, act.value, contact, user, done.item.standing)
        return done.item

    async def hear(
        self,
        contact: Address,
        owner: Address,
        act: Act,
        *,
        notes: tuple[Text, ...] = (),
        opaque: bytes = b"",
        trace: str = "",
    ) -> Act | None:
        """Somebody of another domain does one of RFC 6121 §3's acts towards one of our people. Returns what
        is answered at once in the owner's place. Nothing happens where there is no such owner, or where the
        owner blocks them. Raises `Refused` POLICY_VIOLATION."""
        if len(opaque) + sum(len(n.text) for n in notes) > MAX_REQUEST:
            raise Refused(Condition.POLICY_VIOLATION, "the request says too much")
        account = await self._account(owner)
        if account is None or await self.blocking.blocks(owner, contact):
            return None
        in_place = await self._answer(account, contact)
        replies: list[Act | None] = []

        def between(_: RosterItem, theirs: RosterItem | None) -> Exchange:
            assert theirs is not None
            done, reply = arrival(owner, theirs, act, in_place=in_place, notes=notes, opaque=opaque)
            replies.append(reply)
            return done

        await self._exchange(contact, owner, True, between, notes, trace)
        self._metrics.count("subscription_acts_total", act=act.value)
        self.note(trace, act.value, owner, contact)
        return replies[-1]

    async def roster(self, owner: Address) -> tuple[str, list[RosterItem]]:
        """Version and all items, including those only pending-in."""
        return await self._store.roster(owner)

    async def item(self, owner: Address, contact: Address) -> RosterItem:
        """Empty for somebody the owner has nothing to do with."""
        return await self._store.item(owner, contact)

    async def set_item(
        self, owner: Address, contact: Address, name: str, groups: tuple[str, ...], trace: str = ""
    ) -> RosterItem:
        """Roster set (RFC 6121 §2.3). Raises `Refused`: NOT_ALLOWED (oneself), NOT_ACCEPTABLE (names too
        long), RESOURCE_CONSTRAINT (roster full)."""
        if owner == contact:
            raise Refused(Condition.NOT_ALLOWED, "oneself is not one's contact")
        if len(groups) > MAX_GROUPS or any(len(n.encode()) > MAX_NAME for n in (name, *groups)):
            raise Refused(Condition.NOT_ACCEPTABLE, "names or groups beyond what is kept")
        for _ in range(MAX_ATTEMPTS):
            before = await self._store.item(owner, contact)
            item = replace(before, listed=True, name=name, groups=groups)
            change = RosterChange(owner=owner, previous=before, item=item)
            try:
                version = await self._save((change,))
            except Conflict:
                continue
            await self._tell(change, version.get(owner, ""), push=True, trace=trace)
            return item
        raise Unavailable("the roster item changes faster than it can be written")

    async def remove_item(self, owner: Address, contact: Address, trace: str = "") -> tuple[Act, ...]:
        """Roster remove: cancels both directions (RFC 6121 §2.5). Returns what the contact is to hear, for
        one of another domain. Raises `Refused` ITEM_NOT_FOUND."""
        acts: list[Act] = []

        def between(mine: RosterItem, theirs: RosterItem | None) -> Exchange:
            if not mine.listed:
                raise Refused(Condition.ITEM_NOT_FOUND, f"{contact} is not in the roster")
            acts[:] = removal(mine).acts
            return parting(owner, mine, theirs)

        known = await self._account(contact) is not None
        await self._exchange(owner, contact, known, between, (), trace)
        self.note(trace, "removed", contact, owner)
        return tuple(acts)

    async def kept_changed(self, owner: Address) -> None:
        """What the owner's phones keep here changed: tell those who follow it."""
        await self._bus.tell(owner, KeptChanged(owner=owner))

    async def seen_on_xmpp(self, address: Address) -> None:
        """An XMPP client logged in: from now on its user is asked, and no policy answers, in any process."""
        account = await self._accounts.find(address)
        if account is not None and account.phone_only:
            await self._accounts.seen_on_xmpp(address)
            await self._bus.broadcast(AccountChanged(address=address))

    # --- accounts: each raises `Refused` NOT_ALLOWED where they are kept elsewhere ---------------------

    def forget(self, address: Address) -> None:
        """Something of theirs changed, perhaps in another process: it is read anew."""
        self._accounts.forget(address)
        self.blocking.forget(address)
        self.orders.forget(address)
        self.privacy.forget(address)

    async def change_password(self, address: Address, password: str, spare: str = "") -> None:
        """Whoever logged in with the old one is shown out, in every process, but for `spare`, a full JID.
        Raises `Refused`: BAD_REQUEST for what is no password, ITEM_NOT_FOUND."""
        await self._accounts.set_password(address, password)
        await self._bus.broadcast(AccountChanged(address=address, renewed=True, spare=spare))
        log.info("password_changed", address=str(address))

    async def keep_scram(self, address: Address, name: str, keys: ScramKeys) -> None:
        """See `presence.ports.Accounts.keep_scram`."""
        await self._accounts.keep_scram(address, name, keys)
        await self._bus.broadcast(AccountChanged(address=address))

    async def add_account(self, address: Address, password: str, invitation: str = "") -> None:
        """Raises `Refused`: CONFLICT when it exists, BAD_REQUEST for what is no password. `invitation`: see
        `Accounts.add`."""
        await self._accounts.add(address, password, invitation=invitation)
        await self._bus.broadcast(AccountChanged(address=address))
        log.info("account_made", address=str(address))

    async def register(self, address: Address, password: str, token: str = "") -> None:
        """Somebody makes an account for themselves; with an invitation's token, by its terms. Raises
        `Refused`: CONFLICT also for an account that is promised to another, NOT_ACCEPTABLE when the
        invitation is not for this one, or used up."""
        invitation = await self.invitations.find(token) if token else None
        ours = invitation is not None and invitation.reserved in ("", str(address))
        if token and not (ours and invitation is not None and invitation.domain == address.domain):
            raise Refused(Condition.NOT_ACCEPTABLE, "the invitation is not for this account, or no more")
        promised = invitation is not None and bool(invitation.local)
        if not promised and await self.invitations.promised(address):
            raise Refused(Condition.CONFLICT, f"there already is an account {address}")
        await self.add_account(address, password, name_of(token) if token else "")
        if invitation is None:
            return
        inviter = invitation.inviter
        if invitation.befriends and inviter is not None and await self._account(inviter) is not None:
            await self.befriend(address, inviter)

    async def befriend(self, one: Address, other: Address) -> None:
        """Both list and see each other; nobody is asked."""
        for user, contact in ((one, other), (other, one)):
            await self.act(user, contact, Act.SUBSCRIBED)  # before the request, so that it needs no answer
        for user, contact in ((one, other), (other, one)):
            await self.act(user, contact, Act.SUBSCRIBE)

    async def delete_account(self, address: Address) -> None:
        """Its contacts see it leave for good; sessions, registrations and dialogs end. Raises `Refused`
        ITEM_NOT_FOUND."""
        if await self._accounts.find(address) is None:
            raise Refused(Condition.ITEM_NOT_FOUND, f"there is no account {address}")
        _, items = await self._store.roster(address)
        for item in items:
            with suppress(Refused):
                await self.remove_item(address, item.contact)
        await self._accounts.delete(address)
        await self._bus.broadcast(AccountChanged(address=address, gone=True))
        log.info("account_deleted", address=str(address))

    async def set_enabled(self, address: Address, enabled: bool) -> None:
        """Keep somebody out, or let them in again. Raises `Refused` ITEM_NOT_FOUND."""
        await self._accounts.set_enabled(address, enabled)
        await self._bus.broadcast(AccountChanged(address=address, gone=not enabled))

    # --- messages -----------------------------------------------------------------------------

    async def submit(self, message: InstantMessage, dedup: str = "") -> Submission:
        """Accept a message; when this returns the bus has it. `id`, `trace` and `created` may be left empty
        to be given here. What is for a neighbour's people is with the neighbour then, or refused: it does not
        wait.

        Raises `Refused`: ITEM_NOT_FOUND (no such local user), REMOTE_NOT_FOUND (a domain nobody serves),
        REMOTE_TIMEOUT (expired already; the neighbour is not connected), SERVICE_UNAVAILABLE (the recipient
        blocks the sender), RESOURCE_CONSTRAINT (queue full).
        """
        await self.admit(message)
        now = self._clock()
        if not (message.id and message.trace and message.created):
            given = self._new_id()
            message = replace(
                message,
                id=message.id or given,
                trace=message.trace or given,
                created=message.created or now,
            )
        if self.serves(message.recipient.domain):
            submission = await self._bus.submit(message, now, dedup)
        else:
            submission = await self._hand_over(message, now, dedup)
        if self._accepted(message, submission):
            await self.wake(message)
        return submission

    async def admit(self, message: InstantMessage) -> None:
        """Whether it may be submitted. Raises `Refused` as `submit` does, but for what only the bus knows."""
        recipient = message.recipient
        if not self.reaches(recipient.domain):
            raise self._refusal(message, Condition.REMOTE_NOT_FOUND, f"{recipient.domain} is not served here")
        if self.serves(recipient.domain):
            account = await self._accounts.find(recipient)
            if account is None or not account.enabled:
                raise self._refusal(message, Condition.ITEM_NOT_FOUND, "no such user")
            if await self.blocking.blocks(recipient, message.sender, message.sender_tuple):
                raise self._refusal(message, Condition.SERVICE_UNAVAILABLE, "")
        if message.expires is not None and message.expires <= self._clock():
            raise self._refusal(message, Condition.REMOTE_TIMEOUT, "it expired before it came")

    def accept(
        self,
        message: InstantMessage,
        then: Callable[[InstantMessage, Submission | Refused | Unavailable, bool], None],
    ) -> None:
        """`submit`, of a message for one of our people that `admit` has let pass, without anybody waiting.
        `then` hears what came of it, and whether its bell is to be rung (`wake`)."""

        def told(outcome: Submission | Refused | Unavailable) -> None:
            then(message, outcome, isinstance(outcome, Submission) and self._accepted(message, outcome))

        self._bus.accept(message, self._clock(), told)

    def _accepted(self, message: InstantMessage, submission: Submission) -> bool:
        """Whether somebody may want to be told in another way."""
        accepted = submission.accepted
        self._metrics.count(SUBMITTED[accepted])
        self.note(message.trace, "submitted", message.recipient, message.sender, accepted)
        return accepted is not Accepted.DUPLICATE and self.alarms.concerns(message, submission.endpoints)

    async def _hand_over(self, message: InstantMessage, now: float, dedup: str) -> Submission:
        """To the neighbour, as to a server that is connected (RFC 6120 §10.4)."""
        neighbour = Address("", message.recipient.domain)
        submission = await self._bus.submit(replace(message, store=False), now, dedup, neighbour)
        came_to_nobody = submission.accepted in (Accepted.DROPPED, Accepted.DUPLICATE)
        if came_to_nobody and not submission.endpoints:
            raise self._refusal(message, Condition.REMOTE_TIMEOUT, "the service is not connected")
        return submission

    async def wake(self, message: InstantMessage) -> None:
        """Nobody with an XMPP client hears of it now: somebody may want to be told in another way."""
        with suppress(Unavailable):  # the message is safe; only its bell does not ring
            if await self.alarms.wanted(message.recipient):
                await self._bus.broadcast(Waiting(message=message))

    async def claims(self, what: str, seconds: float) -> bool:
        """Whether this process is the one that does it. Raises `Unavailable`."""
        return await self._bus.lease(what, self._owner, seconds)

    async def settle(
        self,
        message: InstantMessage,
        endpoint: str,
        delivery: Delivery,
        *,
        condition: str = "",
        text: str = "",
    ) -> None:
        """What became of it at one endpoint. When all refused, the sender is told (`Failed`) with the last
        `condition`."""
        settled = await self._bus.settle(message.recipient, message.id, endpoint, delivery, self._clock())
        self._metrics.count(SETTLED[delivery])
        self.note(message.trace, delivery, message.recipient, message.sender, endpoint)
        if settled.failed is not None:
            known = condition in _CONDITIONS
            why = Condition(condition) if known else Condition.RECIPIENT_UNAVAILABLE
            await self.fail(settled.failed, why, text)

    async def fail(self, failed: InstantMessage, condition: Condition, text: str = "") -> None:
        """Tell the sender that nobody took it."""
        failure = Failure(
            message_id=failed.id,
            trace=failed.trace,
            origin_id=failed.origin_id,
            sender=failed.sender,
            sender_endpoint=failed.sender_endpoint,
            recipient=failed.recipient,
            recipient_endpoint=failed.recipient_endpoint,
            condition=condition,
            text=text,
            copied=failed.copied,
        )
        self.note(failed.trace, "failed", failed.recipient, failed.sender, failure.condition)
        # Who is of another domain is told through it.
        home = failed.sender if self.serves(failed.sender.domain) else Address("", failed.sender.domain)
        await self._bus.tell(home, Failed(failure=failure))

    def delivered(
        self, message: InstantMessage, endpoint: str, lost: Callable[[InstantMessage, Unavailable], None]
    ) -> None:
        """`settle` as DELIVERED, without anybody waiting; `lost` hears when the bus could not be told."""

        def told(unavailable: Unavailable | None) -> None:
            if unavailable is not None:
                lost(message, unavailable)
                return
            self._metrics.count(SETTLED[Delivery.DELIVERED])
            self.note(message.trace, Delivery.DELIVERED, message.recipient, message.sender, endpoint)

        self._bus.delivered(message.recipient, message.id, endpoint, self._clock(), told)

    async def relay(self, envelope: Relay) -> int:
        """Protocol-private payload to live endpoints; returns how many nodes got it (0: nobody there)."""
        return await self._bus.relay(envelope)

    async def say(self, kind: EndpointKind, payload: bytes) -> None:
        """Protocol-private payload to all processes with that door, this one included; best effort."""
        await self._bus.broadcast(Word(kind=kind, node=self._node, payload=payload))

    async def post(self, node: str, envelope: Relay) -> None:
        """To one process, if it is alive."""
        await self._bus.broadcast(envelope, node)

    # --- inside -------------------------------------------------------------------------------

    async def _account(self, address: Address) -> Account | None:
        """The enabled account of ours, if there is one."""
        if not address.local or address.domain not in self._domains:
            return None
        account = await self._accounts.find(address)
        return account if account is not None and account.enabled else None

    async def _answer(self, account: Account, watcher: Address) -> Act | None:
        orders = await self.orders.of(account.address)
        if orders is not None:
            return answered(orders, watcher)
        return answer(account, self._policy, own_people=self.serves(watcher.domain))

    async def _veil(self, decision: Decision, watcher: Address, presentity: Address) -> Decision:
        """A refusal that the watcher is not to learn of."""
        if decision.standing is not Standing.REJECTED:
            return decision
        if decision.reason == BLOCKED:
            rules = (await self.privacy.of([presentity])).get(presentity)
            said = rules.polite(watcher) if rules is not None else None
            polite = self._polite if said is None else said
        else:
            orders = await self.orders.of(presentity)
            polite = orders is not None and handling(orders, watcher) is Handling.POLITE_BLOCK
        return Decision(Standing.VEILED, decision.reason) if polite else decision

    def _refusal(self, message: InstantMessage, condition: Condition, text: str) -> Refused:
        self._metrics.count("messages_refused_total", condition=condition)
        self.note(message.trace, "refused", message.recipient, message.sender, condition)
        return Refused(condition, text)

    async def _exchange(
        self,
        user: Address,
        contact: Address,
        contact_known: bool,
        between: Callable[[RosterItem, RosterItem | None], Exchange],
        notes: tuple[Text, ...],
        trace: str,
        *,
        silent: bool = False,
    ) -> Exchange:
        """Read both items, let `between` decide, write and tell both; again if another process was first.
        `silent`: the contact is shown nothing of it."""
        for _ in range(MAX_ATTEMPTS):
            mine, theirs = await self._store.pair(user, contact)
            done = between(mine, theirs if contact_known else None)
            try:
                versions = await self._save(done.changes)
            except Conflict:
                continue
            for event in done.events:
                change = RosterChange(owner=event.owner, previous=event.before, item=event.item)
                await self._tell(
                    change,
                    versions.get(event.owner, ""),
                    shown=None if silent and event.owner == contact else event.shown,
                    push=event.push,
                    notes=notes if event.owner == contact else (),
                    trace=trace,
                )
            return done
        raise Unavailable("the roster items change faster than they can be written")

    async def _save(self, changes: Sequence[RosterChange]) -> dict[Address, str]:
        changes = [c for c in changes if c.item != c.previous]
        for change in changes:
            grows = _weight(change.item) > _weight(change.previous)
            if grows or change.previous == RosterItem(contact=change.item.contact):
                _, items = await self._store.roster(change.owner)
                _check_room(change, items)
        return await self._store.save(changes) if changes else {}

    async def _tell(
        self,
        change: RosterChange,
        version: str,
        *,
        shown: Act | None = None,
        push: bool = False,
        notes: tuple[Text, ...] = (),
        trace: str = "",
    ) -> None:
        owner, contact = change.owner, change.item.contact
        if change.item.seen != change.previous.seen or change.item.pending_in != change.previous.pending_in:
            log.info(
                "subscription_changed",
                presentity=str(owner),
                watcher=str(contact),
                state=change.item.standing,
                trace=trace,
            )
        await self._bus.tell(
            owner,
            AuthorisationChanged(
                owner=owner,
                contact=contact,
                item=change.item,
                previous=change.previous,
                stanza=shown.value if shown else "",
                push=push,
                version=version,
                notes=notes,
                trace=trace,
            ),
        )


def _is_request(item: RosterItem) -> bool:
    """Somebody else's wish, and nothing more."""
    return item.pending_in and item == RosterItem(
        contact=item.contact, pending_in=True, request=item.request, opaque=item.opaque
    )


def _weight(item: RosterItem) -> int:
    contact = item.contact
    return len(contact.local) + len(contact.domain) + len(item.name) + sum(map(len, item.groups))


def _check_room(change: RosterChange, items: Sequence[RosterItem]) -> None:
    """Raises `Refused`. Others' wishes take no room from the owner's own contacts."""
    item = change.item
    others = [
        each for each in items if each.contact != item.contact and _is_request(each) == _is_request(item)
    ]
    if _is_request(item):
        if len(others) >= MAX_REQUESTS:
            text = f"too many requests wait for {change.owner}"
            raise Refused(Condition.RESOURCE_CONSTRAINT, text)
    elif len(others) >= MAX_ITEMS or sum(map(_weight, others)) + _weight(item) > MAX_ROSTER:
        raise Refused(Condition.RESOURCE_CONSTRAINT, f"the roster of {change.owner} is full")
