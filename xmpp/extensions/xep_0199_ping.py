"""XEP-0199 XMPP Ping: answered, and sent to clients that have been silent for long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xmpp.element import CLIENT_NS, E, Element
from xmpp.errors import StreamError
from xmpp.extensions import EVERYWHERE, Extension, Iq, Request, Status
from xmpp.serialiser import serialise

if TYPE_CHECKING:
    from xmpp.runtime import Timer
    from xmpp.session import Session

NS = "urn:xmpp:ping"


class Keepalive:
    """Pings one client after `ping_interval` of silence; ends its stream when even then nothing comes."""

    __slots__ = ("_interval", "_number", "_pinged", "_session", "_timeout", "_timer")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._interval = session.router.settings.ping_interval
        self._timeout = session.router.settings.ping_timeout
        self._pinged: float | None = None
        "When, Unix seconds; None while no answer is awaited."
        self._number = 0
        self._timer: Timer = session.runtime.call_later(self._interval, self._due)

    def stop(self) -> None:
        self._timer.cancel()

    def _due(self) -> None:
        session = self._session
        now = session.router.clock()
        if session.outbound is None:  # it waits for its client (XEP-0198): nobody can answer
            self._pinged = None
            self._timer = session.runtime.call_later(self._interval, self._due)
            return
        if self._pinged is not None and session.heard < self._pinged:
            session.kick(StreamError("connection-timeout", "no answer to a ping"))
            return
        self._pinged = None
        wait = self._interval - (now - session.heard)
        if wait <= 0:
            self._pinged = now
            self._number += 1
            session.send(_ping(session, self._number), "iq")
            wait = self._timeout
        self._timer = session.runtime.call_later(max(wait, 0.1), self._due)


def _ping(session: Session, number: int) -> bytes:
    attrs = {"type": "get", "id": f"ping-{number}", "from": session.address.domain, "to": session.jid.full}
    return serialise(E("iq", CLIENT_NS, attrs, E("ping", NS)), CLIENT_NS).encode()


def _opened(session: Session) -> None:
    if session.router.settings.ping_interval:
        session.extra[NS] = Keepalive(session)


def _closed(session: Session, reason: str) -> None:
    keepalive = session.extra.pop(NS, None)
    if keepalive is not None:
        keepalive.stop()


async def _pong(request: Request) -> Element | None:
    return None


EXTENSION = Extension(
    spec="XEP-0199",
    name="XMPP Ping",
    version="2.0.1",
    status=Status.COMPLETE,
    features=(NS,),
    account_features=(NS,),
    iq=(Iq(type="get", ns=NS, name="ping", targets=EVERYWHERE, handle=_pong, strangers=True),),
    opened=_opened,
    closed=_closed,
)
