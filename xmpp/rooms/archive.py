"""A room's archive (XEP-0313 §5.1.2): for whoever could have heard what is in it."""

from __future__ import annotations

from presence.archive import Archived, position_at
from presence.rooms.model import Affiliation, Role, seen_by
from presence.rooms.privileges import may_read_archive
from xmpp.element import Element
from xmpp.errors import StanzaError
from xmpp.extensions import Request, Target
from xmpp.extensions.xep_0313_archive import Shelf, answer_metadata, answer_query, offer_query
from xmpp.rooms.requests import RoomRequest
from xmpp.rooms.stanzas import write_archived


async def _shelf(request: RoomRequest) -> Shelf:
    history = request.router.service.history
    room = await request.find()
    if history is None:
        raise StanzaError("service-unavailable")
    mine = room.by_token(request.seat.token)
    affiliation = room.affiliation(request.asker)
    if not may_read_archive(room.configuration, affiliation, here=mine is not None):
        raise StanzaError("forbidden")
    role = mine.role if mine is not None else Role.NONE
    reveal = seen_by(role, room.configuration) or affiliation.rank >= Affiliation.ADMIN.rank

    def write(item: Archived) -> bytes:
        return write_archived(item.message, item.at, reveal=reveal)

    return Shelf(history, room.address, write, begins=position_at(room.head.created) - 1)


def _asked(request: RoomRequest) -> Request:
    return Request(request.session, request.stanza, request.payload, Target.SERVICE, request.to)


async def query(request: RoomRequest) -> Element:
    return await answer_query(_asked(request), await _shelf(request))


async def offer(request: RoomRequest) -> Element:
    await _shelf(request)
    return await offer_query(_asked(request))


async def metadata(request: RoomRequest) -> Element:
    return await answer_metadata(await _shelf(request))
