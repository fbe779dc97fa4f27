"""RFC 6121 §2: the roster, with versions and pre-approval (§2.6, §3.4)."""

from __future__ import annotations

from xmpp.component import Component
from xmpp.element import E, Element
from xmpp.errors import StanzaError
from xmpp.extensions import Extension, Iq, Request, Status, Target
from xmpp.roster import ROSTER_NS, read_set, write_roster


async def _get(request: Request) -> Element | None:
    _own(request)
    session = request.session
    if request.payload.find("item") is not None:
        raise StanzaError("bad-request", text="a roster get has no items")
    session.interested = True  # before it is read: what changes in between is pushed
    version, items = await request.router.service.roster(session.address)
    return write_roster(request.payload.attrs.get("ver"), version, items)


async def _set(request: Request) -> Element | None:
    _own(request)
    session, service = request.session, request.router.service
    change = read_set(request.payload)
    if change.contact == session.address:
        raise StanzaError("not-allowed", text="you are always your own contact")
    trace = service.new_trace()
    if change.remove:
        acts = await service.remove_item(session.address, change.contact, trace)
        elsewhere = request.router.hosted.get(change.contact.domain)
        if isinstance(elsewhere, Component):
            for act in acts:
                await elsewhere.act(session.address, change.contact, act)
    else:
        await service.set_item(session.address, change.contact, change.name, change.groups, trace)
    return None


def _own(request: Request) -> None:
    if request.target is Target.USER:  # §2.3.3
        raise StanzaError("forbidden")


def _versions() -> Element:
    return E("ver", "urn:xmpp:features:rosterver")


def _pre_approval() -> Element:
    return E("sub", "urn:xmpp:features:pre-approval")


TARGETS = frozenset({Target.ACCOUNT, Target.USER})

EXTENSION = Extension(
    spec="RFC 6121",
    name="Roster",
    version="2011",
    status=Status.COMPLETE,
    features=(ROSTER_NS,),
    stream_features=(_versions, _pre_approval),
    iq=(
        Iq(type="get", ns=ROSTER_NS, name="query", targets=TARGETS, handle=_get),
        Iq(type="set", ns=ROSTER_NS, name="query", targets=TARGETS, handle=_set),
    ),
)
