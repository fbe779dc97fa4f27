"""The XMPP server behind the streams: sessions, and what the bus has for them.

Implements `xmpp.host.Host` towards the listener and `presence.ports.Outlet` towards the bus.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, assert_never

import structlog
from msgspec.structs import replace

from presence.address import Address
from presence.blocking import NOBODY
from presence.errors import Refused, Unavailable
from presence.messages import Delivery, Failure, InstantMessage
from presence.model import Snapshot
from presence.ports import (
    AccountChanged,
    Accounts,
    AuthorisationChanged,
    Copy,
    Deliver,
    Envelope,
    Failed,
    KeptChanged,
    Metrics,
    PresenceChanged,
    RecordTaken,
    Relay,
    Waiting,
    Word,
)
from presence.rooms.ports import RoomChanged
from presence.rooms.service import Rooms
from presence.service import PresenceService, Standing
from presence.watching import Change, WatchTable, difference
from xmpp.availability import FIRST_RETRY, LAST_RETRY
from xmpp.component import Component
from xmpp.element import CLIENT_NS, Element
from xmpp.entrance import Threshold
from xmpp.errors import StanzaError, StreamError, to_stanza_error
from xmpp.extensions import registry
from xmpp.hosted import Service
from xmpp.jid import JID, parse_jid
from xmpp.message import write_failure
from xmpp.presence import OPAQUE, Addressable, write_absence, write_gone, write_presence, write_subscription
from xmpp.rate import Paces
from xmpp.relay import CONFLICT, Carried, envelope, opened
from xmpp.roster import write_push
from xmpp.runtime import Runtime
from xmpp.serialiser import serialise
from xmpp.session import Session
from xmpp.settings import XmppSettings

log = structlog.get_logger()

ACTS_PER_SECOND, ACTS_AT_ONCE = 5.0, 500
"Requests, answers and cancellations (RFC 6121 §3) of one person: each is told to two, and written for both."
ACTING = 50_000
"People at a time."


class XmppRouter:
    def __init__(
        self,
        settings: XmppSettings,
        service: PresenceService,
        accounts: Accounts,
        metrics: Metrics,
        runtime: Runtime,
    ) -> None:
        self.settings = settings
        self.service = service
        self.accounts = accounts
        self.metrics = metrics
        self.runtime = runtime
        self.clock = runtime.now
        nothing_archived = service.history is None
        self.registry = registry(frozenset({"XEP-0313", "XEP-0441"}) if nothing_archived else frozenset())
        self.started = self.clock()
        self.extra: dict[str, Any] = {}
        "What extensions keep for all sessions together, by their namespace."
        self.rooms_of: dict[str, Callable[[RoomChanged], None]] = {}
        "By domain: who shows what happens in its rooms."
        services = [each for make in self.registry.hosts for each in make(self)]
        self.hosted: dict[str, Service] = {each.domain: each for each in services}
        "Services at domains of their own."
        self.watching: WatchTable[Session] = WatchTable(service.compose)
        self._sessions: dict[Address, dict[str, Session]] = {}
        "By resource."
        self.acts = Paces(ACTS_PER_SECOND, ACTS_AT_ONCE, ACTING)
        "What people do about subscriptions."
        self._count = 0
        self._pushes = 0

    # --- sessions: `Host` -------------------------------------------------------------------------------

    def features(self) -> list[Element]:
        features = [make() for make in self.registry.stream_features]
        return [*features, *(says(self) for says in self.registry.announcements)]

    async def bind(
        self, address: Address, resource: str | None, outbound: Any, lang: str, *, replace: bool = False
    ) -> Session:
        """See `xmpp.host.Host.bind`. `replace`: whoever has the resource is the same client, whatever the
        policy is."""
        try:
            account = await self.accounts.find(address)
            if account is not None and account.phone_only:
                await self.service.seen_on_xmpp(address)
            jid = JID.of(address, await self._settle_conflict(address, resource, replace))
        except (Refused, Unavailable) as refusal:
            raise to_stanza_error(refusal) from None
        old = self.session(jid)
        session = self.admit(jid, outbound, lang, instead_of=old)
        if old is not None:
            self._replace(old, session)
        session.availability.publish()
        log.info("session_opened", jid=jid.full, replaced=old is not None)
        return session

    def admit(self, jid: JID, outbound: Any, lang: str, *, instead_of: Session | None = None) -> Session:
        """A session that nobody knows of yet. Raises `StanzaError`."""
        mine = self._sessions.setdefault(jid.bare, {})
        if mine.get(jid.resource) is not instead_of:
            raise StanzaError("conflict")
        if instead_of is None and len(mine) >= self.settings.max_resources and not self._make_room(mine):
            raise StanzaError("resource-constraint", text="too many clients of this account")
        session = mine[jid.resource] = Session(self, jid, outbound, lang)
        self._count += instead_of is None
        self.metrics.gauge("xmpp_sessions", self._count)
        for hook in self.registry.opened:
            hook(session)
        return session

    def _make_room(self, mine: dict[str, Session]) -> bool:
        """End the session whose client was not heard of for longest, if one has no connection."""
        waiting = [session for session in mine.values() if session.outbound is None]
        if waiting:
            oldest = min(waiting, key=lambda session: session.heard)
            self.runtime.spawn(oldest.end("resource-constraint"))
        return bool(waiting)

    async def _settle_conflict(self, address: Address, resource: str | None, replace: bool) -> str:
        """The resource to bind (RFC 6120 §7.7.2.2). Raises `StanzaError`."""
        if not resource:
            return secrets.token_urlsafe(9)
        replace = replace or self.settings.resource_conflict == "replace"
        taken = resource in self._sessions.get(address, ())
        if taken and replace:
            return resource
        if not taken:
            wanted = JID.of(address, resource)
            word = Carried(CONFLICT if replace else "", "", self.service.owner, wanted.full)
            elsewhere = await self.service.relay(envelope(word, wanted)) > 0
            if not elsewhere or replace:
                return resource
        if self.settings.resource_conflict == "reject":
            raise StanzaError("conflict", text="this resource is connected")
        return f"{resource[:200]}-{secrets.token_urlsafe(6)}"

    def _replace(self, old: Session, new: Session) -> None:
        new.availability.predecessor = old
        old.superseded = True
        old.kick(StreamError("conflict", "replaced by a new connection"))
        self.runtime.spawn(old.end("conflict"))

    async def stop(self) -> None:
        """End the sessions that outlived their streams."""
        for session in list(self.all_sessions()):
            await session.end("system-shutdown")

    def threshold(self) -> Threshold:
        """What extensions do before a resource is bound."""
        negotiable = {ns: partial(answer, self) for ns, answer in self.registry.negotiable.items()}
        return Threshold.of(self, self.registry.entrances, negotiable)

    def left(self, session: Session, reason: str) -> None:
        """Called by a session that ends."""
        log.info("session_closed", jid=session.jid.full, reason=reason)
        mine = self._sessions.get(session.address)
        if mine is None or mine.get(session.jid.resource) is not session:
            return
        del mine[session.jid.resource]
        if not mine:
            del self._sessions[session.address]
            self.watching.spare(session.address, {})
        self._count -= 1
        self.metrics.gauge("xmpp_sessions", self._count)

    def all_sessions(self) -> Iterable[Session]:
        return (session for mine in self._sessions.values() for session in mine.values())

    def sessions_of(self, address: Address) -> list[Session]:
        return list(self._sessions.get(address, {}).values())

    def session(self, jid: JID) -> Session | None:
        return self._sessions.get(jid.bare, {}).get(jid.resource)

    def gives_ids(self, domain: str) -> bool:
        """Ids of messages in the name of that domain's addresses are ours to give (XEP-0359)."""
        return self.service.serves(domain) or domain in self.hosted

    def sessions(self) -> list[dict[str, Any]]:
        """For `tandem sessions`."""
        return [_describe(session) for session in self.all_sessions()]

    async def restate(self) -> None:
        """Tell the bus everything again that lives here: it may have forgotten, or believed us dead."""
        for session in list(self.all_sessions()):
            session.availability.publication.forget()
            session.availability.publish()
        for service in self.hosted.values():
            if isinstance(service, Component):
                await service.restate()
        self.runtime.spawn(self._observe(self.watching.presentities()))
        if self.service.rooms is not None:
            self.runtime.spawn(self._restate_rooms(self.service.rooms))

    async def _restate_rooms(self, rooms: Rooms) -> None:
        delay = FIRST_RETRY
        while True:
            try:
                await rooms.restate()
                return
            except Unavailable:
                await self.runtime.sleep(delay)
                delay = min(2 * delay, LAST_RETRY)

    # --- who watches whom -------------------------------------------------------------------------------

    async def watch(self, session: Session, addresses: Sequence[Address]) -> None:
        """From now on the session may be shown these; returns when all are known that can be.

        The caller answers for authorisation.
        """
        fresh = [address for address in addresses if self.watching.add(address, session)]
        await self._observe(fresh)

    async def _observe(self, addresses: Sequence[Address]) -> None:
        delay = FIRST_RETRY
        while wanted := [address for address in addresses if address in self.watching]:
            try:
                snapshots = await self.service.watch(wanted)
                rules = await self.service.privacy.of(wanted)
            except Unavailable:
                await self.runtime.sleep(delay)
                delay = min(2 * delay, LAST_RETRY)
                continue
            for snapshot in snapshots:
                self.watching.restrict(snapshot.address, rules.get(snapshot.address))
                self._presence_changed(snapshot)
            return

    def watches_nobody(self, session: Session) -> None:
        self._unwatch(self.watching.discard_watcher(session))

    def _unwatch(self, addresses: Sequence[Address]) -> None:
        if addresses:
            self.runtime.spawn(self._lose_interest(addresses))

    async def _lose_interest(self, addresses: Sequence[Address]) -> None:
        nobody = [address for address in addresses if address not in self.watching]
        try:
            await self.service.unwatch(nobody)
        except Unavailable:
            log.info("unwatch_failed", addresses=len(nobody))

    async def known(self, to: JID, watcher: Address) -> list[Addressable]:
        """What a probe is answered with (RFC 6121 §4.3.2)."""
        address = to.bare
        document = self.watching.seen(address, watcher)
        if document is None:
            (snapshot,) = await self.service.snapshots([address])
            document = await self.service.show(snapshot, watcher)
        blocked = await self.service.blocking.of(watcher) if watcher != address else NOBODY
        wanted = [t for t in document.tuples if t.open and to.resource in ("", t.id)]
        there = [t for t in wanted if not blocked.covers(address, t.id)]
        if not there:
            return [write_absence(address, document)]
        return [write_presence(address, t, document) for t in there]

    # --- from the bus: `Outlet` -------------------------------------------------------------------------

    def receive(self, envelope: Envelope) -> None:
        match envelope:
            case Deliver(message=message, endpoints=endpoints, delayed=delayed):
                self._deliver(message, endpoints, delayed=delayed)
            case Copy(message=message, endpoints=endpoints, sent=sent):
                self._copied(message, endpoints, sent=sent)
            case PresenceChanged(snapshot=snapshot):
                self._presence_changed(snapshot)
            case Relay():
                self._relayed(envelope)
            case AuthorisationChanged():
                self._authorisation_changed(envelope)
            case Failed(failure=failure):
                self._failed(failure)
            case KeptChanged() | RecordTaken() | Word():
                return
            case Waiting(message=message):
                for wake in self.registry.waiting:
                    wake(self, message)
            case AccountChanged():
                self._account_changed(envelope)
            case RoomChanged(room=room):
                hear = self.rooms_of.get(room.domain)
                if hear is not None:
                    hear(envelope)
            case _:
                assert_never(envelope)

    def _account_changed(self, change: AccountChanged) -> None:
        farewell = farewell_of(change)
        for session in self.sessions_of(change.address):
            if farewell is not None and session.jid.full != change.spare:
                session.kick(farewell)
        if farewell is None and change.address in self._sessions:
            self.runtime.spawn(self._read_blocklist(change.address))
        if farewell is None and change.address in self.watching:
            self.runtime.spawn(self._reread_rules(change.address))

    async def _read_blocklist(self, owner: Address) -> None:
        """It may have changed, and some look at it who cannot wait for it."""
        with suppress(Unavailable):
            self._spare(owner, (await self.service.blocking.of(owner)).single)

    def _spare(self, owner: Address, unwanted: Mapping[str, frozenset[str]]) -> None:
        """What the owner's clients do not want to see of others; they are shown the difference at once."""
        concerned = {*unwanted, *self.watching.spared(owner)}
        sessions = self.sessions_of(owner)
        if not concerned or not sessions:
            return
        watched = {
            other
            for session in sessions
            for other in self.watching.watched_by(session)
            if str(other) in concerned or other.domain in concerned
        }
        before = {other: self.watching.seen(other, owner) for other in watched}
        self.watching.spare(owner, unwanted)
        for other, was in before.items():
            now = self.watching.seen(other, owner)
            if was is None or now is None:
                continue
            change = difference(was, now)
            for session in sessions:
                if other in self.watching.watched_by(session):
                    self._show_change(session, change)

    def _deliver(self, message: InstantMessage, endpoints: tuple[str, ...], *, delayed: bool) -> None:
        mine = self._sessions.get(message.recipient)
        if mine is None:
            component = self.hosted.get(message.recipient.domain)
            if isinstance(component, Component):
                component.deliver(message)
                return
            mine = {}
        for endpoint in endpoints:
            kind, _, resource = endpoint.partition(":")
            if kind != "xmpp":
                continue
            session = mine.get(resource)
            if session is not None:
                session.deliver(message, delayed=delayed)
            elif message.store:
                self.runtime.spawn(self._nobody_there(message, endpoint))

    def _copied(self, message: InstantMessage, endpoints: tuple[str, ...], *, sent: bool) -> None:
        mine = self._sessions.get(message.sender if sent else message.recipient, {})
        for endpoint in endpoints:
            session = mine.get(endpoint.partition(":")[2])
            if session is not None and not session.congested:
                for hook in self.registry.copied:
                    hook(session, message, sent)

    async def _nobody_there(self, message: InstantMessage, endpoint: str) -> None:
        try:
            await self.service.settle(message, endpoint, Delivery.UNREACHABLE)
        except Unavailable:
            log.info("settle_failed", message=message.id, reason="bus", trace=message.trace)

    def _failed(self, failure: Failure) -> None:
        component = self.hosted.get(failure.sender.domain)
        if isinstance(component, Component):
            self.runtime.spawn(component.failed(failure))
            return
        mine = self._sessions.get(failure.sender, {})
        error = write_failure(failure)
        for resource, session in list(mine.items()):
            if failure.sender_endpoint == f"xmpp:{resource}":
                session.send(error, "message")
            elif failure.copied and not session.congested:
                for hook in self.registry.failed:
                    hook(session, error)

    # presence

    def _presence_changed(self, snapshot: Snapshot) -> None:
        """Fan out (RFC 6121 §4.4.3): one rendering for all, one copy for each."""
        change = self.watching.update(snapshot)
        if change is None:
            return
        if change.person_changed:
            own = any(s.person is not None and s.id.startswith("xmpp:") for s in snapshot.sources)
            for hook in self.registry.person:
                hook(self, change, own)
        if self.watching.restricted(snapshot.address):
            for session in self.watching.watchers(snapshot.address):
                mine = self.watching.permissions(snapshot.address, session.address)
                self._show_change(session, change.seen(mine))
            return
        rendered = render_change(change)
        if not rendered:
            return
        watchers = 0
        for session in self.watching.watchers(snapshot.address):
            if session.availability.shown:
                watchers += 1
                for each in rendered:
                    session.send(each.to(session.escaped), "presence")
        if watchers:
            self.metrics.count("xmpp_presence_out_total", watchers * len(rendered))

    def _show_change(self, session: Session, change: Change) -> None:
        """To one that may not see all of it: what it knows already is not said again, as even that would tell
        that something changed."""
        if not session.availability.shown:
            return
        address, before = change.current.address, change.previous
        known = {write_presence(address, each, before) for each in before.tuples} if before else set()
        for each in render_change(change):
            if each not in known:
                session.send(each.to(session.escaped), "presence")
                self.metrics.count("xmpp_presence_out_total")

    async def _reread_rules(self, presentity: Address) -> None:
        """What somebody shows to whom may have changed: to those for whom it has, at once."""
        with suppress(Unavailable):
            rules = (await self.service.privacy.of([presentity])).get(presentity)
            sessions = self.watching.watchers(presentity)
            before = [self.watching.seen(presentity, session.address) for session in sessions]
            if self.watching.restrict(presentity, rules) is None and rules is None:
                return
            for session, was in zip(sessions, before, strict=True):
                now = self.watching.seen(presentity, session.address)
                if was is not None and now is not None:
                    self._show_change(session, difference(was, now))

    def _authorisation_changed(self, event: AuthorisationChanged) -> None:
        sessions = self.sessions_of(event.owner)
        if event.resource:
            sessions = [session for session in sessions if session.jid.resource == event.resource]
        if not sessions:
            return
        if event.push:
            self._pushes += 1
            push = write_push(event.item, event.version, f"push-{self._pushes}")
            for session in sessions:
                if session.interested:
                    session.send(push.to(session.escaped), "iq")
        if event.stanza:
            self._show_act(event, sessions)
        for session in sessions:
            if not session.available:
                continue
            if event.item.sees and not event.previous.sees:
                session.availability.revoked.pop(event.contact, None)
                self.runtime.spawn(self._begin_to_see(session, event.contact))
            elif event.previous.sees and not event.item.sees:
                session.availability.revoked[event.contact] = None
                session.availability.hide(event.contact)
                if self.watching.discard(event.contact, session):
                    self._unwatch([event.contact])

    async def _begin_to_see(self, session: Session, contact: Address) -> None:
        revoked = session.availability.revoked
        if contact in revoked:
            return
        known = self.watching.document(contact) is not None
        await self.watch(session, [contact])  # shows it to all who watch it, if it is news
        if known and contact in self.watching.watched_by(session) and contact not in revoked:
            session.availability.show(contact)

    def _show_act(self, event: AuthorisationChanged, sessions: list[Session]) -> None:
        """Requests to all available resources, answers to the interested ones (§3.1.3, §3.1.6)."""
        asked = event.stanza == "subscribe"
        opaque = event.item.opaque if asked else b""
        shown = write_subscription(event.contact, event.stanza, event.notes, opaque)
        for session in sessions:
            if session.available if asked else session.interested:
                session.send(shown.to(session.escaped), "presence")

    # between resources

    async def pass_on(self, carried: Carried, to: JID) -> bool:
        """To the resource or resources `to` names, here or elsewhere; False when there are none.

        Raises `Unavailable`.
        """
        if to.resource and self.session(to) is not None:
            await self._hand_over(carried, to)
            return True
        return await self.service.relay(envelope(carried, to)) > 0

    async def say_everywhere(self, word: str, sender: JID, payload: bytes) -> None:
        """To all processes that have sessions of the sender's account: see `Extension.words`. Raises
        `Unavailable`."""
        to = JID.of(sender.bare)
        await self.service.relay(envelope(Carried(word, "", sender.full, to.full, stanza=payload), to))

    def _relayed(self, relay: Relay) -> None:
        try:
            carried = opened(relay)
            to = parse_jid(carried.to)
        except ValueError as broken:  # includes `msgspec.MsgspecError` and `InvalidAddress`
            log.warning("relay_unreadable", address=str(relay.address), reason=str(broken))
            return
        component = self.hosted.get(to.domain)
        if isinstance(component, Component):
            if carried.name == CONFLICT:
                component.connected_elsewhere(carried.sender)
            else:
                component.hand_over(carried)
        elif carried.name == CONFLICT:
            session = self.session(to)
            if session is not None and carried.sender != self.service.owner:
                session.kick(StreamError("conflict", "replaced by a new connection"))
        elif (hear := self.registry.words.get(carried.name)) is not None:
            hear(self, carried, to)
        elif carried.name:
            self.runtime.spawn(self._hand_over(carried, to))

    async def _hand_over(self, carried: Carried, to: JID) -> None:
        """Give a stanza from another resource to its addressees here (RFC 6121 §8.5.2.1.2, §8.5.3)."""
        sender = parse_jid(carried.sender)
        blocked = await self.service.blocking.blocks(to.bare, sender.bare, sender.resource)
        if not to.resource:
            for session in () if blocked else self.sessions_of(to.bare):
                if session.available and not session.congested:
                    session.send(carried.stanza, carried.name)
            return
        found = None if blocked else self.session(to)
        asks = carried.name == "iq" and carried.type in ("get", "set")
        if found is not None and found.congested and not (carried.name == "iq" and not asks):
            found = None  # an answer was asked for; all else can be left out
        if found is None or (asks and not await self._may_ask(carried, found)):
            if asks or (carried.name == "message" and carried.type == "groupchat"):
                await self.bounce(carried)
            return
        if carried.name == "presence" and carried.type == "unavailable":
            found.availability.directed.pop(carried.sender, None)
        found.send(carried.stanza, carried.name)

    async def _may_ask(self, carried: Carried, session: Session) -> bool:
        """Whether an IQ may reach this resource: only from whom it shares its presence with (§8.5.3.1)."""
        sender = parse_jid(carried.sender)
        if sender.bare == session.address or session.availability.shares_with(sender):
            return True
        service = self.hosted.get(sender.domain)
        if service is not None and not (isinstance(service, Component) and sender.local):
            return True  # a service itself, or a room in the name of who is in it
        decision = await self.service.decide(sender.bare, session.address)
        return decision.standing is Standing.ACTIVE

    def answered(self, stanza: Element, sender: JID, to: JID) -> None:
        """A result or error of a request that was made in the name of an account."""
        for hook in self.registry.answered:
            hook(self, stanza, sender, to)

    async def bounce(self, carried: Carried) -> None:
        """Tell the sender that the resource is not there."""
        sender = parse_jid(carried.sender)
        attrs = {"from": carried.to, "to": carried.sender, "type": "error", "id": carried.id}
        error = StanzaError("service-unavailable").element(CLIENT_NS)
        element = Element(carried.name, CLIENT_NS, attrs, [error])
        if carried.name == "iq" and not sender.resource:
            self.answered(element, parse_jid(carried.to), sender)
            return
        stanza = serialise(element, CLIENT_NS).encode()
        answer = Carried(carried.name, "error", carried.to, carried.sender, carried.id, stanza)
        component = self.hosted.get(sender.domain)
        try:
            if isinstance(component, Component):
                await component.carry(answer, answered=False)
            else:
                await self.pass_on(answer, sender)
        except Unavailable:
            log.info("bounce_failed", to=carried.sender)


def farewell_of(change: AccountChanged) -> StreamError | None:
    """What the account's clients hear, if they have to leave (RFC 6120 §4.9.3.12, §4.9.3.16)."""
    if change.gone:
        return StreamError("not-authorized", "the account is no more")
    return StreamError("reset", "the account has another password") if change.renewed else None


def render_change(change: Change) -> list[Addressable]:
    """What watchers are sent of a change; nothing for what they knew to be closed."""
    document = change.current
    before = {t.id: t for t in change.previous.tuples} if change.previous is not None else {}
    rendered: list[Addressable] = []
    updated = list(change.updated)
    if change.person_changed:  # phones that say nothing themselves show their person
        known = {t.id for t in updated}
        updated += [t for t in document.tuples if t.open and OPAQUE not in t.opaque and t.id not in known]
    for tuple_ in updated:
        was = before.get(tuple_.id)
        if (
            was is not None
            and not change.person_changed
            and replace(was, capabilities=tuple_.capabilities) == tuple_
        ):
            continue
        if tuple_.open or (was is not None and was.open):
            rendered.append(write_presence(document.address, tuple_, document))
    rendered += [write_gone(document.address, t, document) for t in change.gone if t.open]
    return rendered


def _describe(session: Session) -> dict[str, Any]:
    told = session.availability.tuple
    return {
        "kind": "xmpp",
        "address": str(session.address),
        "resource": session.jid.resource,
        "available": told is not None,
        "priority": told.priority if told is not None else None,
        "interested": session.interested,
        "since": session.since,
        **(session.outbound.info() if session.outbound is not None else {"peer": "", "detached": True}),
    }
