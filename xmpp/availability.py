"""One session's presence: what it shows of itself, what it is shown of others (RFC 6121 §4)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import structlog
from msgspec.structs import replace

from presence.address import Address
from presence.errors import PresenceError, Unavailable
from presence.model import Person, PresenceTuple
from presence.subscriptions import RosterItem
from xmpp.element import CLIENT_NS, Element
from xmpp.errors import StanzaError
from xmpp.jid import JID
from xmpp.presence import (
    MAX_PRESENCE,
    OPAQUE,
    directed,
    read_extras,
    read_notes,
    read_presence,
    size_of,
    write_gone,
    write_presence,
)
from xmpp.publication import Publication
from xmpp.relay import carry

if TYPE_CHECKING:
    from xmpp.session import Session

log = structlog.get_logger()

MAX_DIRECTED = 1000
"Addresses one session may have sent directed presence to."
WATCHED = 250
"Bytes that becoming available counts as for each contact."
FIRST_RETRY, LAST_RETRY = 0.25, 8.0
"Seconds between attempts while the bus cannot be reached."


class Availability:
    __slots__ = (
        "_arrival", "_awaited", "_capabilities", "_publishing", "_session", "directed", "predecessor",
        "publication", "revoked", "shown", "tuple",
    )  # fmt: skip

    def __init__(self, session: Session, owner: str) -> None:
        self._session = session
        self.publication = Publication(session.jid.resource, owner)
        self.tuple: PresenceTuple | None = None
        "The presence last broadcast; None while the resource is not available."
        self.shown = False
        "The client has been shown its contacts; from now on it is told their changes."
        self._awaited: list[RosterItem] | None = None
        "The roster whose contacts are to be shown as soon as the client has its answers."
        self._arrival = 0
        "Counts presence sessions, so that a slow beginning does not meet the next one."
        self.revoked: dict[Address, None] = {}
        "Contacts that stopped being visible while the roster was read."
        self.directed: dict[str, JID] = {}
        "Whom the client sent directed presence (§4.6); they hear when it leaves."
        self.predecessor: Session | None = None
        "The session this one replaced."
        self._publishing = False
        self._capabilities: tuple[str, ...] | None = None

    @property
    def available(self) -> bool:
        return self.tuple is not None

    # --- out: broadcast (§4.2, §4.4, §4.5) --------------------------------------------------------------

    def broadcast(self, stanza: Element) -> None:
        """Presence without `to`. Raises `StanzaError`."""
        session = self._session
        now = session.router.clock()
        told = read_presence(stanza, session.jid.resource, lang=session.lang, now=now)
        if size_of(told) > MAX_PRESENCE:
            if told.open:
                raise StanzaError("policy-violation", text=f"a presence has at most {MAX_PRESENCE} bytes")
            told = replace(told, notes=(), opaque={OPAQUE: b""})  # last words are no reason to stay
        if not told.open:
            if self.tuple is None:
                self._part()
            else:
                self.leave(told)
                echo = write_presence(session.address, told)
                session.send(echo.to(session.escaped), "presence")
            return
        initial = self.tuple is None
        self.tuple = self.publication.wanted = replace(told, capabilities=self._capabilities)
        self.publish()
        if initial:
            session.runtime.spawn(self._arrive())

    def capable_of(self, capabilities: tuple[str, ...] | None) -> None:
        """What the client can do (`PresenceTuple.capabilities`), known before it is available or later."""
        if capabilities == self._capabilities:
            return
        self._capabilities = capabilities
        if self.tuple is not None:
            self.tuple = self.publication.wanted = replace(self.tuple, capabilities=capabilities)
            self.publish()

    def publish(self) -> None:
        """Bring the bus to the state wanted, in the background."""
        if not self._publishing:
            self._publishing = True
            self._session.runtime.spawn(self._publish())

    async def settle_down(self) -> None:
        """As `publish`, and return when it is done."""
        if not self._publishing:
            self._publishing = True
            await self._publish()

    async def _publish(self) -> None:
        router = self._session.router
        delay = FIRST_RETRY
        try:
            if self.predecessor is not None:
                await self.predecessor.release()
                self.predecessor = None
            while not self._session.superseded:
                step = self.publication.step(router.clock())
                if step is None:
                    break
                trace = router.service.new_trace()
                try:
                    await router.service.publish(self._session.address, step.update, trace)
                except Unavailable as error:
                    log.info("publish_retried", jid=self._session.jid.full, reason=str(error), retry_in=delay)
                    await router.runtime.sleep(delay)
                    delay = min(2 * delay, LAST_RETRY)
                    continue
                self.publication.made(step)
                delay = FIRST_RETRY
        except PresenceError:
            log.exception("xmpp_presence_refused", jid=self._session.jid.full)
        finally:
            self._publishing = False

    def leave(self, parting: PresenceTuple | None) -> None:
        """The presence session ends; with a last word, if the client had one (§4.5)."""
        self._part()
        if self.tuple is None:
            return
        self.tuple = self.publication.wanted = None
        said = parting is not None and (parting.notes or parting.opaque.get(OPAQUE))
        self.publication.parting = parting if said else None
        self.shown = False
        self._awaited = None
        self._session.router.watches_nobody(self._session)
        if not self._session.superseded:
            self.publish()

    # --- from one process to another (XEP-0198) -----------------------------------------------------------

    @property
    def capabilities(self) -> tuple[str, ...] | None:
        """See `capable_of`."""
        return self._capabilities

    def seen(self) -> Iterator[tuple[Address, int, tuple[str, ...]]]:
        """Whom the client was shown: at which version, with which tuples."""
        session = self._session
        for contact in session.router.watching.watched_by(session):
            document = session.router.watching.seen(contact, session.address)
            if document is not None:
                yield contact, document.version, tuple(t.id for t in document.tuples if t.open)

    def restore(
        self,
        presence: PresenceTuple | None,
        person: Person | None,
        capabilities: tuple[str, ...] | None,
        directed: Iterable[JID],
    ) -> None:
        """As it was where the session comes from."""
        self.tuple = self.publication.wanted = presence
        self.publication.person = person
        self._capabilities = capabilities
        self.directed = {to.full: to for to in directed}

    async def come_back(self, shown: dict[Address, tuple[int, tuple[str, ...]]] | None) -> None:
        """Let the bus know where the session is now, and show what has changed since the client was shown
        this; None: everything."""
        await self.settle_down()
        if self.tuple is not None:
            self._session.runtime.spawn(self._arrive(shown))

    def depart(self) -> None:
        """Somebody else says from now on whether the client is there."""
        self.directed.clear()
        self.leave(None)

    def _part(self) -> None:
        """Whoever was sent directed presence hears that the client leaves."""
        told, self.directed = self.directed, {}
        stanza = Element("presence", CLIENT_NS, {"type": "unavailable"})
        for to in told.values():
            self._session.runtime.spawn(self._pass_on(directed(stanza, self._session.jid, to), to))

    # --- out: directed (§4.6) ---------------------------------------------------------------------------

    def direct(self, stanza: Element, to: JID) -> Element:
        """Presence to one entity, as it goes there. Raises `StanzaError`."""
        if len(read_extras(stanza)) + sum(len(note.text) for note in read_notes(stanza, "")) > MAX_PRESENCE:
            raise StanzaError("policy-violation", text=f"a presence has at most {MAX_PRESENCE} bytes")
        if stanza.get("type") == "unavailable":
            self.directed.pop(to.full, None)
        elif len(self.directed) >= MAX_DIRECTED and to.full not in self.directed:
            raise StanzaError("resource-constraint", text="directed presence to too many")
        else:
            self.directed[to.full] = to
        return directed(stanza, self._session.jid, to)

    async def _pass_on(self, stanza: Element, to: JID) -> None:
        session = self._session
        hosted = session.router.hosted.get(to.domain)
        try:
            if hosted is not None:
                await hosted.receive(session, stanza, to)
                return
            await session.router.pass_on(carry(stanza, session.jid, to), to)
        except Unavailable:
            log.info("directed_presence_lost", jid=session.jid.full)

    def shares_with(self, other: JID) -> bool:
        """Directed presence lets `other` reach this resource (§8.5.3.1)."""
        return other.full in self.directed or str(other.bare) in self.directed

    # --- in: contacts (§4.2, §4.3) ----------------------------------------------------------------------

    async def _arrive(self, shown: dict[Address, tuple[int, tuple[str, ...]]] | None = None) -> None:
        """Initial presence: see everybody one may see, and the requests that wait (§3.1.3). `shown`: what the
        client has seen of them already."""
        session = self._session
        router = session.router
        self._arrival += 1
        mine = self._arrival
        self.revoked.clear()
        delay = FIRST_RETRY
        while True:
            try:
                _, items = await router.service.roster(session.address)
                mine_blocked = await router.service.blocking.of(session.address)
                hidden = await router.service.blocking.blocked_by(session.address, session.jid.resource)
                break
            except Unavailable:
                await router.runtime.sleep(delay)
                delay = min(2 * delay, LAST_RETRY)
            if self.tuple is None or mine != self._arrival:
                return
        if self.tuple is None or mine != self._arrival:
            return
        router.watching.spare(session.address, mine_blocked.single)
        session.charge(WATCHED * len(items))
        items = [i for i in items if i.contact not in hidden and not mine_blocked.covers(i.contact)]
        contacts = [i.contact for i in items if i.sees and i.contact not in self.revoked]
        await router.watch(session, [session.address, *contacts])
        if self.tuple is None or mine != self._arrival:
            return
        if shown is not None:
            self._show_since(shown)
            return
        self._awaited = items
        if not session.receiving:
            self.show_contacts()

    def _show_since(self, shown: dict[Address, tuple[int, tuple[str, ...]]]) -> None:
        session = self._session
        self.shown = True
        watching = session.router.watching
        for contact in {*shown, *watching.watched_by(session)}:
            version, before = shown.get(contact, (0, ()))
            document = watching.seen(contact, session.address)
            if document is not None and document.version == version:
                continue
            now = {t.id for t in document.tuples if t.open} if document is not None else set()
            for id in before:
                if id not in now:
                    gone = write_gone(contact, PresenceTuple(id=id, open=False))
                    session.send(gone.to(session.escaped), "presence")
            self.show(contact)

    def show_contacts(self) -> None:
        """Show what is known of all whom the session watches, unless it was done or is not yet asked for.

        Clients that send presence before they ask for their roster drop what comes before its result: so this
        waits until the requests that came along are answered.
        """
        items, self._awaited = self._awaited, None
        if items is None or self.tuple is None:
            return
        self.shown = True
        contacts = deque(self._session.router.watching.watched_by(self._session))
        requests = deque(item for item in items if item.pending_in)
        if not self._show_next(contacts, requests):
            self._session.runtime.spawn(self._show_rest(contacts, requests, self._arrival))

    def _show_next(self, contacts: deque[Address], requests: deque[RosterItem]) -> bool:
        """As many as the client takes at once, taken out; whether that is all."""
        session = self._session
        while contacts or requests:
            if session.congested:
                return False
            if contacts:
                self.show(contacts.popleft())
            else:
                session.show_request(requests.popleft())
        return True

    async def _show_rest(self, contacts: deque[Address], requests: deque[RosterItem], arrival: int) -> None:
        """What is shown later is shown as it is then."""
        session = self._session
        while not self._show_next(contacts, requests):
            await session.runtime.sleep(FIRST_RETRY)
            if self.tuple is None or arrival != self._arrival or session.ended:
                return
            watched = set(session.router.watching.watched_by(session))
            gone = [contact for contact in contacts if contact not in watched]
            for contact in gone:
                contacts.remove(contact)

    def show(self, contact: Address) -> None:
        """All that is known of one contact."""
        session = self._session
        document = session.router.watching.seen(contact, session.address)
        if document is None or not self.shown:
            return
        for tuple_ in document.tuples:
            if tuple_.open:
                session.send(write_presence(contact, tuple_, document).to(session.escaped), "presence")

    def hide(self, contact: Address) -> None:
        """The client may not see the contact any more."""
        session = self._session
        document = session.router.watching.seen(contact, session.address)
        if document is None or not self.shown:
            return
        for tuple_ in document.tuples:
            if tuple_.open:
                session.send(write_gone(contact, tuple_).to(session.escaped), "presence")
