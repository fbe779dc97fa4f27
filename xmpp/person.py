"""What people say of themselves by personal eventing ↔ the `Person` of their presence (RFC 4480).

What a client publishes is a part of what each of its user's resources contributes, so that phones see it;
what a phone contributes is shown to clients that ask for such events as if it had been published. Each
`Aspect` is one such node, registered by its XEP.

GAP XEP-0163: what a phone contributes is told, but is no item that could be asked for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from presence.errors import PresenceError
from presence.model import Person
from presence.watching import Change
from xmpp.capabilities import NOTIFY, features_of
from xmpp.element import Element
from xmpp.extensions import Request
from xmpp.nodes import ITEMS
from xmpp.pubsub import item_event, write_notification
from xmpp.reader import parse_fragment

if TYPE_CHECKING:
    from xmpp.jid import JID
    from xmpp.relay import Carried
    from xmpp.router import XmppRouter
    from xmpp.session import Session

OWN = "xmpp:"
"What the ids of sources begin with whose events are published as they are."


@dataclass(frozen=True, slots=True)
class Aspect:
    """One thing people say of themselves."""

    node: str
    field: str
    "Of `Person`."
    read: Callable[[Element], tuple[str, ...]]
    "The payload's names in RPID's words; empty for nothing."
    write: Callable[[tuple[str, ...]], Element]
    "A payload; of no names, one that says nothing."

    # --- from a client ------------------------------------------------------------------------------------

    def kept(self) -> Callable[[Request, str, list[Element]], Awaitable[None]]:
        """For `Extension.kept`."""

        async def kept(request: Request, collection: str, elements: list[Element]) -> None:
            if collection == ITEMS + self.node:
                names = self.read(elements[0]) if elements else ()
                await request.router.say_everywhere(
                    self.node, request.session.jid, msgspec.msgpack.encode(names)
                )

        return kept

    def heard(self, router: XmppRouter, carried: Carried, to: JID) -> None:
        """For `Extension.words`: all of the user's sessions here say it, too."""
        names = msgspec.msgpack.decode(carried.stanza, type=tuple[str, ...])
        for session in router.sessions_of(to.bare):
            self._say(session, names)

    def incoming(self, session: Session, stanza: Element) -> Element:
        """For `Extension.incoming`: a client that becomes available says what was published before."""
        arrives = stanza.name == "presence" and not stanza.get("type") and not stanza.get("to")
        if arrives and self.node not in session.extra:
            session.extra[self.node] = True
            session.runtime.spawn(self._learn(session))
        return stanza

    async def _learn(self, session: Session) -> None:
        kept = session.router.service.belongings
        try:
            found = await kept.latest([session.address], [ITEMS + self.node])
        except PresenceError:
            return
        for item in found.values():
            self._say(session, self.read(parse_fragment(item.data)[0]))

    def _say(self, session: Session, names: tuple[str, ...]) -> None:
        publication = session.availability.publication
        before = publication.person or Person()
        changes: dict[str, Any] = {self.field: names}
        person = replace(before, **changes)
        if person != before:
            publication.person = person if person != Person() else None
            if session.available:
                session.availability.publish()

    # --- from a phone -------------------------------------------------------------------------------------

    def changed(self, router: XmppRouter, change: Change, from_clients: bool) -> None:
        """For `Extension.person`: tell whose clients want to hear of the node."""
        owner = change.current.address
        whole = self._said(change)
        if from_clients or whole is None:
            return
        for session in router.watching.watchers(owner):
            mine = router.watching.permissions(owner, session.address)
            event = whole if mine is None else self._said(change.seen(mine))
            if event is not None and session.available and self.node + NOTIFY in features_of(session):
                id = router.service.new_trace()
                session.send(write_notification(str(owner), session.jid.full, id, event), "message")

    def _said(self, change: Change) -> bytes | None:
        before = change.previous.person if change.previous is not None else None
        names = self._names(change.current.person)
        if names == self._names(before):
            return None
        return item_event(self.node, "current", [self.write(names)])

    def _names(self, person: Person | None) -> tuple[str, ...]:
        return getattr(person, self.field) if person is not None else ()
