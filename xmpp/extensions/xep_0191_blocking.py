"""XEP-0191 Blocking Command. What blocking means is in `presence.blocking`, for phones as well.

A single resource that is blocked (§5) concerns XMPP clients alone: phones of who blocks it still see it. Of
an occupant of a room who is blocked nothing is heard, but it is seen that they are there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xmpp.element import CLIENT_NS, E, Element
from xmpp.errors import StanzaError
from xmpp.extensions import Extension, Iq, Request, Status, Target
from xmpp.jid import JID, parse_jid
from xmpp.serialiser import serialise

if TYPE_CHECKING:
    from xmpp.relay import Carried
    from xmpp.router import XmppRouter

NS = "urn:xmpp:blocking"


async def _get(request: Request) -> Element:
    _own(request)
    request.session.extra[NS] = True  # before it is read: what changes in between is pushed
    blocklist = await request.router.service.blocking.of(request.session.address)
    return _write("blocklist", blocklist.names)


async def _block(request: Request) -> None:
    _own(request)
    names = _names(request.payload)
    if not names:
        raise StanzaError("bad-request", text="whom?")
    service = request.router.service
    await service.blocking.block(request.session.address, names, service.new_trace())
    await _push(request, "block", names)


async def _unblock(request: Request) -> None:
    """Without items: everybody."""
    _own(request)
    names = _names(request.payload)
    service = request.router.service
    await service.blocking.unblock(request.session.address, names or None, service.new_trace())
    await _push(request, "unblock", names)


def _own(request: Request) -> None:
    if request.target is not Target.ACCOUNT:
        raise StanzaError("forbidden")


def _names(payload: Element) -> list[str]:
    """Canonical. Raises `InvalidAddress`."""
    return list(dict.fromkeys(parse_jid(item.get("jid")).full for item in payload.findall("item")))


def _write(name: str, names: tuple[str, ...] | list[str]) -> Element:
    return E(name, NS, {}, *(E("item", NS, {"jid": jid}) for jid in names))


async def _push(request: Request, name: str, names: list[str]) -> None:
    payload = serialise(_write(name, names), CLIENT_NS).encode()
    await request.router.say_everywhere(NS, request.session.jid, payload)


def _heard(router: XmppRouter, carried: Carried, to: JID) -> None:
    """To every client that asked for the list."""
    for session in router.sessions_of(to.bare):
        if NS in session.extra:
            id = router.service.new_trace()
            session.send(
                b"<iq type='set' id='block-%s' to='%s'>%s</iq>"
                % (id.encode(), session.escaped, carried.stanza),
                "iq",
            )


TARGETS = frozenset({Target.ACCOUNT, Target.USER, Target.SERVER})

EXTENSION = Extension(
    spec="XEP-0191",
    name="Blocking Command",
    version="1.3",
    status=Status.COMPLETE,
    notes="One list with phones, which do not know of single resources. Occupants of rooms are still seen.",
    features=(NS,),
    account_features=(NS,),
    marks=(NS,),
    iq=(
        Iq(type="get", ns=NS, name="blocklist", targets=TARGETS, handle=_get),
        Iq(type="set", ns=NS, name="block", targets=TARGETS, handle=_block),
        Iq(type="set", ns=NS, name="unblock", targets=TARGETS, handle=_unblock),
    ),
    words={NS: _heard},
)
