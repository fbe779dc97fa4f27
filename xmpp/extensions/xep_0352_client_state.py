"""XEP-0352 Client State Indication: what can wait is held back while nobody looks at the client.

That is presence, of which only the latest of each resource is kept, and chat states. It goes out before the
next thing that cannot wait, or when the client is active again. The same is done while a session waits for
its client (XEP-0198). Nobody else is told of the state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xmpp.element import E, Element
from xmpp.errors import StreamError
from xmpp.extensions import Extension, Outgoing, Status

if TYPE_CHECKING:
    from xmpp.session import Session

NS = "urn:xmpp:csi:0"
MAX_HELD = 1000
"Stanzas held back for one client; one more, and all go out."
MAX_BYTES = 262_144
"Of them."


class Held:
    """What one client is to be sent later, latest last."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._waiting: dict[tuple[str, str], Outgoing] = {}
        "(kind, sender) → the latest."
        self._size = 0
        session.holds = self.holds

    def holds(self, outgoing: Outgoing) -> bool:
        """See `xmpp.session.Session.holds`."""
        key = _key(outgoing)
        if key is not None:
            self._take(key)
            self._waiting[key] = outgoing
            self._size += len(outgoing.data)
            if len(self._waiting) > MAX_HELD or self._size > MAX_BYTES:
                self.flush()
            return True
        message = outgoing.message
        if message is not None:  # who has written is not writing any more
            self._take(("state", f"{message.sender}/{message.sender_tuple}"))
        if self._session.outbound is not None:
            self.flush()
        return False

    def _take(self, key: tuple[str, str]) -> None:
        older = self._waiting.pop(key, None)
        if older is not None:
            self._size -= len(older.data)

    def flush(self) -> None:
        waiting, self._waiting, self._size = self._waiting, {}, 0
        for outgoing in waiting.values():
            self._session.pass_out(outgoing)


def _key(outgoing: Outgoing) -> tuple[str, str] | None:
    """What a newer stanza of the same key makes superfluous; None for what cannot wait."""
    if outgoing.name == "presence":
        attrs = outgoing.attributes()
        if attrs.get("type", "") in ("", "unavailable"):
            return "presence", attrs.get("from", "")
        return None
    message = outgoing.message
    if message is None or message.store or message.bodies or message.subjects:
        return None
    return "state", f"{message.sender}/{message.sender_tuple}"


async def _receive(session: Session, element: Element) -> None:
    if element.name == "inactive":
        _hold(session)
    elif element.name == "active":
        _active(session)
    else:
        raise StreamError("unsupported-stanza-type")


def _hold(session: Session) -> None:
    if NS not in session.extra:
        session.extra[NS] = Held(session)


def _active(session: Session) -> None:
    held: Held | None = session.extra.pop(NS, None)
    if held is not None:
        session.holds = None
        held.flush()


def _at_binding(session: Session, element: Element) -> None:
    if element.name == "inactive":
        _hold(session)


def _detached(session: Session, reason: str) -> bool:
    _hold(session)
    return False


def _feature() -> Element:
    return E("csi", NS)


EXTENSION = Extension(
    spec="XEP-0352",
    name="Client State Indication",
    version="1.0.0",
    status=Status.COMPLETE,
    notes="Presence and chat states wait.",
    stream_features=(_feature,),
    elements={NS: _receive},
    at_binding={NS: _at_binding},
    detached=_detached,
    resumed=_active,
)
