"""XEP-0045 Multi-User Chat: the code is in `xmpp.rooms` and `presence.rooms`.

Left out of what it lets a service do: the approval of registrations (§9.9) and of what visitors say,
nicknames that are locked down (status 210), public logs, a room's node (`muc#roomconfig_pubsub`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from xmpp.extensions import Extension, Status
from xmpp.extensions.xep_0313_archive import NS as ARCHIVE_NS
from xmpp.rooms import archive
from xmpp.rooms.desk import Place, RoomDesk

if TYPE_CHECKING:
    from xmpp.hosted import Service
    from xmpp.router import XmppRouter
    from xmpp.session import Session


def _hosts(router: XmppRouter) -> Iterable[Service]:
    rooms = router.service.rooms
    if rooms is None:
        return []
    desks = [RoomDesk(router, rooms, domain, beside) for domain, beside in rooms.policy.domains.items()]
    router.rooms_of.update((desk.domain, desk.hear) for desk in desks)
    return desks


def _desks(session: Session) -> list[RoomDesk]:
    return [each for each in session.router.hosted.values() if isinstance(each, RoomDesk)]


def _closed(session: Session, reason: str) -> None:
    for desk in _desks(session):
        desk.closed(session)


def _pack(session: Session) -> bytes:
    places = {desk.domain: desk.pack(session) for desk in _desks(session)}
    places = {domain: place for domain, place in places.items() if place is not None}
    return msgspec.msgpack.encode(places) if places else b""


async def _unpack(session: Session, luggage: bytes) -> None:
    places = msgspec.msgpack.decode(luggage, type=dict[str, Place])
    for desk in _desks(session):
        if desk.domain in places:
            await desk.move(session, places[desk.domain])


EXTENSION = Extension(
    spec="XEP-0045",
    name="Multi-User Chat",
    version="1.35.5",
    status=Status.COMPLETE,
    notes="Who enters as in the old groupchat protocol is told to use this one, as §7.2.18 recommends.",
    hosts=_hosts,
    room_iq={
        ("set", ARCHIVE_NS, "query"): archive.query,
        ("get", ARCHIVE_NS, "query"): archive.offer,
        ("get", ARCHIVE_NS, "metadata"): archive.metadata,
    },
    closed=_closed,
    packs=_pack,
    unpacks=_unpack,
)
