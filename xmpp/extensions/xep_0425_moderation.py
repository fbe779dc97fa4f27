"""XEP-0425 Moderated Message Retraction: a room's moderators take back what others said.

It is not shown to those who come later; in the archive a tombstone stands in its place (§5).
"""

from __future__ import annotations

from msgspec.structs import replace

from presence.errors import Unavailable
from presence.messages import Audience, InstantMessage, Kind
from presence.model import Text
from presence.rooms.decisions import Step, moderate, occupant
from presence.rooms.model import AUTHOR, Room, occupant_id
from xmpp.element import E, Element
from xmpp.errors import StanzaError
from xmpp.extensions import Extension, Status
from xmpp.presence import OPAQUE
from xmpp.rooms.names import MODERATE_NS, OCCUPANT_NS, RETRACT_NS
from xmpp.rooms.requests import MAX_REASON, RoomRequest
from xmpp.serialiser import serialise_children
from xmpp.timestamps import stamp

PAUSE, TRIES = 0.5, 20
"Until what was said just now is in the archive, where it is to be struck."


async def _moderate(request: RoomRequest) -> None:
    wanted = request.payload
    if wanted.find("retract", RETRACT_NS) is None:
        raise StanzaError("feature-not-implemented", text="messages can be retracted")
    id = wanted.get("id")
    found = wanted.find("reason")
    reason = found.text[:MAX_REASON] if found is not None else ""
    original = await _find(request, id)
    service = request.router.service
    trace, now = service.new_trace(), request.router.clock()
    by: list[Element] = []

    def decide(room: Room | None) -> Step:
        mine = occupant(room, request.seat.token)
        assert room is not None
        own = E("occupant-id", OCCUPANT_NS, {"id": occupant_id(room.head, mine.address)})
        by[:] = [E("moderated", MODERATE_NS, {"by": f"{room.address}/{mine.nick}"}, own)]
        if reason:
            by.append(E("reason", RETRACT_NS, {}, reason))
        announcement = InstantMessage(
            id=trace,
            trace=trace,
            sender=room.address,
            recipient=room.address,
            kind=Kind.GROUPCHAT,
            origin_id=trace,
            created=now,
            audience=Audience.XMPP,
            copied=False,
            opaque={OPAQUE: serialise_children([E("retract", RETRACT_NS, {"id": id}, *by)])},
        )
        return moderate(room, request.seat.token, id, announcement)

    await request.rooms.act(request.room, decide)
    service.note(trace, "xmpp.in", request.room, request.asker, "moderated")
    if original is not None:
        stone = E("retracted", RETRACT_NS, {"stamp": stamp(now)}, *by)
        request.router.runtime.spawn(_strike(request, id, tombstone(original, stone)))


async def _find(request: RoomRequest, id: str) -> InstantMessage | None:
    """The message; None where nothing is archived. Raises `Refused` ITEM_NOT_FOUND."""
    room = await request.find()
    history = request.router.service.history
    if history is None or not room.configuration.archived:
        return None
    (found,) = await history.find(request.room, [id])
    return found.message


def tombstone(original: InstantMessage, stone: Element) -> InstantMessage:
    """§5: whose it was and when, and that it was taken back."""
    nothing: tuple[Text, ...] = ()
    author = {AUTHOR: original.opaque[AUTHOR]} if AUTHOR in original.opaque else {}
    return replace(
        original,
        bodies=nothing,
        subjects=nothing,
        thread="",
        markup="",
        file=None,
        opaque={OPAQUE: serialise_children([stone]), **author},
    )


async def _strike(request: RoomRequest, id: str, stone: InstantMessage) -> None:
    for _ in range(TRIES):
        try:
            if await request.rooms.strike(request.room, id, stone):
                return
        except Unavailable:
            pass
        await request.router.runtime.sleep(PAUSE)


EXTENSION = Extension(
    spec="XEP-0425",
    name="Moderated Message Retraction",
    version="0.3.0",
    status=Status.COMPLETE,
    room_features=(MODERATE_NS, RETRACT_NS),
    room_iq={("set", MODERATE_NS, "moderate"): _moderate},
)
